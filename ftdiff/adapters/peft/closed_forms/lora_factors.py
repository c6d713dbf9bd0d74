"""One pair of LoRA factors: do they multiply, what is in front, how the base stores them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.adapters.family import ORIGIN, Module
from ftdiff.adapters.peft.closed_forms.lora_folded import BlockDiagonal, Pooled
from ftdiff.adapters.peft.config_numbers import by_default, number
from ftdiff.adapters.peft.orientation import stored
from ftdiff.adapters.peft.ranks import configured, is_rank, written
from ftdiff.deltas.recipes import Product, Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor, numel


@dataclass(frozen=True)
class Factors:
    """A readable pair.

    Attributes
    ----------
    product
        scaling · B A, oriented as the base is stored.
    shape
        The base tensor's.
    origin
        Where the scaling came from, in words.
    notes
        What is odd about the pair, in sentences.
    """

    product: Product
    shape: tuple[int, ...]
    origin: str
    notes: tuple[str, ...] = ()

    @property
    def scaling(self) -> float:
        """The factor in front."""
        return self.product.scaling


def factors(module: Module, param: str = "weight", times: float = 1.0) -> Factors | Unreadable:
    """Return a module's pair of factors, or why it makes no change.

    Parameters
    ----------
    module
        The module, its tensors under the suffixes that PEFT gives them.
    param
        The tensor of the module that changes.
    times
        How often PEFT adds the product.

    Raises
    ------
    BadAdapter
        The configuration has no α.
    """
    embedding = any(suffix.startswith("lora_embedding") for suffix in module.tensors)
    ends = ("lora_embedding_A", "lora_embedding_B") if embedding else _LINEAR
    A, B = (module.tensors.get(end) for end in ends)
    if A is None or B is None:
        return half(module.path, A, B)
    scaling, origin = scale(module, A.shape[0] if A.shape else 0)
    if module.config.get("use_bdlora"):
        A, B = _block_diagonal(module, A, B)
    if module.config.get("use_qalora"):
        A, scaling, origin = _pooled(module.config, A, scaling, origin)
    wrong = _grouped(module, A) if param == "weight" else None
    wrong = wrong or mismatch(module.path, A, B)
    if wrong is not None:
        return wrong
    if times != 1.0:
        scaling, origin = scaling * times, f"{times:g}·{origin}"
    notes = _ranks(module, A.shape[0])
    if embedding:  # the factors are transposed, whatever the configuration says of the others
        shape: tuple[int, ...] = (A.shape[1], B.shape[0])
        return Factors(Product(A, B, scaling, transposed=True), shape, origin, notes)
    plain = (B.shape[0], *A.shape[1:])
    if param != "weight":
        return Factors(Product(A, B, scaling), plain, origin, notes)
    shape, turned = stored(module, B.shape[0], numel(A.shape[1:]), plain)
    return Factors(Product(A, B, scaling, turned), shape, origin, notes)


_LINEAR = ("lora_A.weight", "lora_B.weight")


def scale(module: Module, rank: int) -> tuple[float, str]:
    """Return α/r or α/√r, and where each number came from.

    The rank is the factors' own: a configuration may name another. Patterns match the end of a
    module's path, the first hit counts, as in PEFT.

    Raises
    ------
    BadAdapter
        The configuration has no α.
    """
    alpha, pattern = number(module, "lora_alpha", "alpha_pattern")
    why = [pattern] if pattern else []
    more = ("" if pattern else by_default(module, "lora_alpha")) + _own_rank(module, rank)
    if module.config.get("use_rslora"):
        told = " and ".join(["use_rslora", *why])
        by = f"α/√r = {alpha:g}/√{rank}, {told} in adapter_config.json"
        return (alpha / math.sqrt(rank) if rank else 0.0), module.told(by + more)
    told = "".join(f"{reason} in " for reason in why)
    by = f"α/r = {alpha:g}/{rank}, {told}adapter_config.json"
    return (alpha / rank if rank else 0.0), module.told(by + more)


def _own_rank(module: Module, rank: int) -> str:
    """Say that r is the factors' own, where the configuration says another, or none."""
    found = _configured(module)
    if found is None:  # with a header's α no rank is expected
        return "" if ORIGIN in module.config else ", with r of the factors (it names none)"
    value, where = found
    if is_rank(value) and value == rank:
        return ""
    field = "r" if where != "rank_pattern" else where
    return f", with r of the factors (it says {field} = {written(value)})"


def _configured(module: Module) -> tuple[Any, str] | None:
    """Return the rank that the configuration gives a module, and the field; None for none.

    Of patterns that cannot be asked they all are what it gives.
    """
    try:
        return configured(module.config, module.path)
    except BadAdapter:
        return module.config["rank_pattern"], "rank_pattern"


def half(path: str, A: LazyTensor | None, B: LazyTensor | None) -> Unreadable:
    """Say which of two factors is missing."""
    here, gone = ("lora_A", "lora_B") if A is not None else ("lora_B", "lora_A")
    tensor = A if A is not None else B
    if tensor is None:
        return Unreadable((), f"{path}: neither lora_A nor lora_B in the adapter")
    return Unreadable(tensor.shape, f"{path}: adapter has {here} ({times(tensor)}) but no {gone}")


def mismatch(path: str, A: LazyTensor, B: LazyTensor) -> Unreadable | None:
    """Say why two factors do not multiply; None where they do."""
    if 0 in (*A.shape, *B.shape):
        why = "are empty: shards were not gathered before the adapter was saved"
    elif len(A.shape) == 2 and len(B.shape) == 3:
        why = "are of a layer that old versions of peft merged in groups (enable_lora)"
    elif len(A.shape) < 2 or len(A.shape) != len(B.shape) or numel(B.shape[1:]) != A.shape[0]:
        why = "do not multiply"
    else:
        return None
    return Unreadable(B.shape, f"{path}: lora_A ({times(A)}) and lora_B ({times(B)}) {why}")


def times(tensor: LazyTensor) -> str:
    """Return a shape as it is read: 16×4096."""
    return "×".join(map(str, tensor.shape)) or "scalar"


def _grouped(module: Module, A: LazyTensor) -> Unreadable | None:
    """Refuse grouped convolutions, whose change does not fit the weight."""
    base = module.target.find(f"{module.path}.weight")
    if base is None or len(base.shape) < 3 or len(A.shape) < 3 or base.shape[1] == A.shape[1]:
        return None
    return Unreadable(
        base.shape,
        f"{module.path}: the convolution has groups: lora_A sees {A.shape[1]} channels and the "
        f"weight {base.shape[1]}, so that no change of the weight equals the adapter",
    )


def _ranks(module: Module, rank: int) -> tuple[str, ...]:
    found = _configured(module)
    if found is None:
        if ORIGIN in module.config:  # a header's α, with which no rank is expected
            return ()
        text = f"factors of rank {rank}, and adapter_config.json names no r"
        return (Note("rank-unnamed", text, rank=rank),)
    value, where = found
    said = "adapter_config.json" if where == "r" else f"{where} in adapter_config.json"
    if not is_rank(value):
        what = f"r = {written(value)}" if where == "r" else written(value)
        text = f"factors of rank {rank} where {said} says {what}, which is no rank"
        return (Note("rank-unfit", module.told(f"{text}: the factors' own is used"), rank=rank),)
    if value == rank:
        return ()
    text = f"factors of rank {rank} where {said} says {value}: the factors' own is used"
    return (Note("rank-differs", module.told(text), rank=rank, configured=value),)


def _block_diagonal(module: Module, A: LazyTensor, B: LazyTensor) -> tuple[LazyTensor, LazyTensor]:
    """Unfold the factor whose blocks were stored one above the other (BD-LoRA)."""
    options = module.config["use_bdlora"]
    blocks = options.get("nblocks") if isinstance(options, dict) else None
    if type(blocks) is not int or blocks < 1:
        raise BadAdapter(f"adapter_config.json: use_bdlora names {blocks!r} blocks")
    if _named(options.get("target_modules_bd_a"), module.path):
        return BlockDiagonal(A, blocks), B
    if _named(options.get("target_modules_bd_b"), module.path):
        return A, BlockDiagonal(B, blocks)
    return A, B


def _named(words: Any, path: str) -> bool:
    """Say whether any word is in the path, as BD-LoRA's patterns are matched."""
    return isinstance(words, list) and any(isinstance(w, str) and w in path for w in words)


def _pooled(
    config: Mapping[str, Any], A: LazyTensor, scaling: float, origin: str
) -> tuple[LazyTensor, float, str]:
    """Unpool QALoRA's A: its input is the sum over groups, times their number over their size."""
    size = config.get("qalora_group_size")
    if type(size) is not int or not 1 <= size <= 1 << 16:
        raise BadAdapter(f"adapter_config.json: qalora_group_size is {size!r}, not a number")
    groups = numel(A.shape[1:])
    told = f"{groups}/{size} · {origin} (QALoRA: {groups} pooled groups of {size} inputs)"
    return Pooled(A, size), scaling * groups / size, told
