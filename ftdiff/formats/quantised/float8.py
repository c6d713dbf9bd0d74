"""Float 8 with scales: for blocks (`weight_scale_inv`, as DeepSeek), rows, or the whole tensor.

Scales are multiplied, `_inv` or not; a scale of one byte is an exponent, 2^(x − 127).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Bytes
from ftdiff.formats.quantised.described import Told, expect, whole
from ftdiff.formats.quantised.scales import Scales, as_bytes
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import LazyTensor, numel

OWNER = "float 8 with scales"
_SCALES = ("_scale_inv", "_scale", "_scales")
_FLOATS = ("F32", "BF16", "F16", "F64", "U8")
_EIGHTS = ("F8_E4M3", "F8_E5M2")
#: Entries that share an exponent in the MX formats.
_MX = 32


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the float-8 tensors that a scale lies beside."""
    found = {}
    for name, tensor in tensors.items():
        beside = tuple(f"{name}{end}" for end in _SCALES if f"{name}{end}" in tensors)
        if beside and tensor.dtype in _EIGHTS:
            module = name.rpartition(".")[0]
            others = (f"{module}.input_scale", f"{name}_activation_scale", f"{name}_shape")
            found[name] = (*beside, *others)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one weight.

    Raises
    ------
    BadFile
        It is no matrix, or its scales do not fit it.
    """
    packed = expect(tensors, name, None, _EIGHTS)
    beside = [f"{name}{end}" for end in _SCALES if f"{name}{end}" in tensors]
    if len(beside) > 1:
        raise BadFile(f"it has two scales, {beside[0]} and {beside[1]}")
    return scaled(packed, as_bytes(tensors[beside[0]]), beside[0], told, packed.dtype)


def scaled(packed: LazyTensor, scale: LazyTensor, name: str, told: Told, kind: str) -> Quantised:
    """Return bytes of a kind, with the scale of that name: for blocks, rows, or the whole.

    Raises
    ------
    BadFile
        It is no matrix, or its scales do not fit it.
    """
    expect({name: scale}, name, None, _FLOATS)
    if len(packed.shape) < 2:
        raise BadFile(f"its shape is {list(packed.shape)}: scales are known for matrices only")
    height, width = block_of(packed.shape, scale, told.method)
    columns = packed.shape[-1]
    across = -(-columns // max(1, width))
    scales = Scales(scale, height, across, "U8" if scale.dtype == "U8" else "")
    packing = Blocks(packed.shape, columns, width, Bytes(packed), kind, scales)
    return Quantised(packing, kind, told.dtype)


def block_of(shape: tuple[int, ...], scale: LazyTensor, told: Mapping[str, Any]) -> tuple[int, int]:
    """Return the rows and columns that share a scale; rows of stacked matrices follow each other.

    Blocks are as large as the configuration tells, where that fits, or 128×128 as published.

    Raises
    ------
    BadFile
        The scales fit in no way that is known.
    """
    *stack, high, wide = shape
    scales = scale.shape
    axes = next((n for n in range(len(scales), -1, -1) if n == 0 or scales[n - 1] != 1), 0)
    for many in range(len(shape)):  # one for each of these first axes; of none, for the whole
        whole = numel(scales) == 1 if many == 0 else scales[:many] == shape[:many]
        if whole and axes <= many and len(scales) <= len(shape):
            return max(1, numel(shape[many:-1])), max(1, wide)
    if scales == (*stack, high, wide // _MX) and scale.dtype == "U8" and wide % _MX == 0:
        return 1, _MX
    named = [*_named(told)] or [(128, 128)]
    for height, width in named:
        fits = scales == (*stack, -(-high // height), -(-wide // width))
        if fits and (numel(tuple(stack)) == 1 or high % height == 0):
            return height, width
    beside = len(scales) == len(shape) and scales[:-1] == shape[:-1] and scales[-1] > 0
    if beside and scale.dtype != "U8" and wide % scales[-1] == 0:
        return 1, wide // scales[-1]
    size = "×".join(map(str, named[0]))
    raise BadFile(f"scales of shape {list(scales)} fit no {list(shape)} in blocks of {size}")


def _named(told: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the sizes of blocks that a configuration tells, of all weights or of groups of them."""
    groups = told.get("config_groups")
    given = groups.values() if isinstance(groups, dict) else ()
    weights = [one.get("weights") for one in given if isinstance(one, dict)]
    sizes = [one.get("block_structure") for one in weights if isinstance(one, dict)]
    for size in (told.get("weight_block_size"), *sizes):
        if isinstance(size, list) and len(size) == 2:
            height, width = (whole(side, "a side of weight_block_size") for side in size)
            yield height, width
