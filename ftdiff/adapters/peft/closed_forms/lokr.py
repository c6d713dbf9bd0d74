"""LoKr: ΔW = α/r · w1 ⊗ w2, each whole or a product of factors.

Yeh et al., Navigating Text-To-Image Customization (LyCORIS), ICLR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft import tensors as parts
from ftdiff.adapters.peft.closed_form import ClosedForm, among
from ftdiff.adapters.peft.closed_forms.loha import pair
from ftdiff.adapters.peft.config_numbers import number, over_rank
from ftdiff.adapters.peft.orientation import stored
from ftdiff.adapters.products import Lokr
from ftdiff.deltas.forms import Dense
from ftdiff.deltas.recipes import Added, Maker
from ftdiff.errors import BadAdapter
from ftdiff.tensors import numel

_PARTS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")


def read(module: Module) -> Reading:
    """Return the recipe of a module's weight."""
    w1, w2 = module.tensors.get("lokr_w1"), module.tensors.get("lokr_w2")
    made = Lokr(w1, w2, 1.0)
    rank = None
    if w1 is None:
        a, b = parts.needed(module, "lokr_w1_a", "lokr_w1_b")
        left, rank = pair(module, a, b, None), b.shape[0]
        made = replace(made, w1_a=a, w1_b=b)
    else:
        left = parts.needed(module, "lokr_w1")[0].shape
    if w2 is None:
        a, b = parts.needed(module, "lokr_w2_a", "lokr_w2_b")
        core = module.tensors.get("lokr_t2")
        right, rank = pair(module, a, b, core), b.shape[0]
        made = replace(made, w2_a=a, w2_b=b, t2=core)
    else:
        right = w2.shape
    if len(right) < 2:
        raise BadAdapter(f"{module.path}: lokr_w2 is {parts.times(right)}, not a matrix")
    return _reading(module, made, left, right, rank)


def _reading(
    module: Module, made: Lokr, left: tuple[int, ...], right: tuple[int, ...], rank: int | None
) -> Reading:
    if rank is None:  # both whole: PEFT divides by the configuration's rank all the same
        asked, where = number(module, "r", "rank_pattern")
        scaling, origin = over_rank(module, "alpha", asked, where or "r")
    else:
        scaling, origin = over_rank(module, "alpha", rank)
    made = replace(made, scaling=scaling)
    shape, _ = stored(module, left[0] * right[0], left[1] * numel(right[1:]))
    name = module.target.name(f"{module.path}.weight")
    maker, form = _maker(made, shape)
    return Reading({name: Added(shape, maker, form)}, {name: origin})


def _maker(made: Lokr, shape: tuple[int, ...]) -> tuple[Maker, str]:
    if made.w2 is None or len(made.w2.shape) != 3:
        return made, "kronecker"
    return Shifted(made, shape[0]), "dense"


@dataclass(frozen=True)
class Shifted:
    """The change that PEFT makes of a one-dimensional convolution whose second side is whole.

    Parameters
    ----------
    sides
        w1, or its factors; w2 is out × in × kernel.
    rows
        Output channels of the weight.

    Notes
    -----
    PEFT aligns w1 with the last two axes of w2 (in × kernel) and not with the first two, as it
    does where there are four, and gives the product the weight's shape. What was trained is that:
    no Kronecker product of out × in, so it is formed; such weights are small.
    """

    sides: Lokr
    rows: int

    def make(self) -> Dense:
        """Read both sides and form the product as float32."""
        assert self.sides.w2 is not None
        w1 = self.sides.make().C.dense() * self.sides.scaling
        dW = np.kron(w1.astype(np.float32)[None], self.sides.w2.read().astype(np.float32))
        return Dense(dW.reshape(self.rows, -1))


FORM = ClosedForm("lokr", among(*_PARTS), read)
