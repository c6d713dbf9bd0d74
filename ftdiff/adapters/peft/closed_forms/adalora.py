"""AdaLoRA: ΔW = α/r₀ · B (E ∘ A), with the rank r₀ that training began with.

Zhang et al., Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.config_numbers import by_default, number
from ftdiff.adapters.peft.orientation import stored
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added
from ftdiff.deltas.recipes.added import matrix
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor

_PARTS = ("lora_A", "lora_B", "lora_E")
#: What PEFT adds to the rank before it divides by it.
_EPSILON = 1e-5
_OTHER_FORMULAS = {
    "target_parameters": "experts are adapted in one three-dimensional tensor",
    "trainable_token_indices": "single rows of an embedding are replaced",
}


def check(config: Mapping[str, Any]) -> None:
    """Raise for what AdaLoRA's configuration inherits from LoRA's and its layers do not.

    Raises
    ------
    BadAdapter
        It asks for another formula, named in the message.
    """
    for switch, why in _OTHER_FORMULAS.items():
        if config.get(switch):
            raise BadAdapter(
                f"adapter_config.json: {switch} is set ({why}), which no AdaLoRA layer does"
            )


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    A, B, E = parts.needed(module, *_PARTS)
    rank = parts.agree(module, "the rank", A.shape[0], B.shape[1], E.shape[0])
    parts.agree(module, "the sides of lora_E", 1, E.shape[1])
    scaling, origin = scale(module, rank)
    shape, turned = stored(module, B.shape[0], A.shape[1])
    name = module.target.name(f"{module.path}.weight")
    recipe = Added(shape, Weighted(A, B, E, scaling, turned))
    return Reading({name: recipe}, {name: origin}, notes=_notes(module, rank))


def scale(module: Module, rank: int) -> tuple[float, str]:
    """Return α/(r₀ + 10⁻⁵), and where each number came from.

    `rank_pattern` says which singular values were kept; it changes the number of them and not the
    factor, which stays that of the initial rank, as in PEFT. An α that is not positive stands for
    the rank that is left.

    Raises
    ------
    BadAdapter
        The configuration has no α or no initial rank.
    """
    alpha, _ = number(module, "lora_alpha", "")
    first, _ = number(module, "init_r", "")
    if not first > 0:
        raise BadAdapter(f"adapter_config.json: init_r is {first:g}, not a rank")
    told = f"{alpha:g}" if alpha > 0 else f"{rank} (for lora_alpha = {alpha:g})"
    scaling = (alpha if alpha > 0 else rank) / (first + _EPSILON)
    default = by_default(module, "lora_alpha", "init_r")
    by = f"α/(r + {_EPSILON:g}) = {told}/{first:g}, init_r in adapter_config.json"
    return scaling, by + default


def _notes(module: Module, rank: int) -> tuple[str, ...]:
    """Say so where the configuration counts other singular values than the file holds."""
    patterns = module.config.get("rank_pattern")
    kept = patterns.get(f"{module.path}.lora_E") if isinstance(patterns, dict) else None
    told = sum(map(bool, kept)) if isinstance(kept, list) else number(module, "init_r", "")[0]
    if told == rank:
        return ()
    said = "rank_pattern" if isinstance(kept, list) else "init_r"
    text = f"factors of rank {rank} where {said} says {told}: the factors' own is used"
    return (Note("rank-differs", text, rank=rank),)


@dataclass(frozen=True)
class Weighted:
    """ΔW = scaling · B (E ∘ A), or its transpose.

    Parameters
    ----------
    A, B, E
        r × in, out × r and r × 1.
    scaling
        α/(r₀ + ε).
    transposed
        The base is stored in × out.
    """

    A: LazyTensor
    B: LazyTensor
    E: LazyTensor
    scaling: float
    transposed: bool = False

    def make(self) -> LowRank:
        """Read all factors as float32, the singular values into A's rows."""
        dW = LowRank(matrix(self.B), matrix(self.A) * matrix(self.E), self.scaling)
        return dW.transposed() if self.transposed else dW


FORM = ClosedForm("adalora", among(*_PARTS), read, check)
