"""Float 8 with scales: for blocks (`weight_scale_inv`, as DeepSeek), rows, or the whole tensor.

Scales are multiplied, `_inv` or not; a scale of one byte is an exponent, 2^(x − 127).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.described import expect, method, model_dtype, places, whole
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import DTYPES, Array, LazyTensor

OWNER = "float 8 with scales"
_SCALES = ("_scale_inv", "_scale")
_FLOATS = ("F32", "BF16", "F16", "F64", "U8")
_EIGHTS = ("F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Blocks:
    """Where a matrix of float 8 lies, and its scales: one for each block of rows and columns."""

    packed: LazyTensor
    held: LazyTensor
    block: tuple[int, int]
    unit: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.packed.shape

    @property
    def storage(self) -> Hashable:
        """The places of both parts."""
        found = places(self.packed, self.held)
        return None if found is None else (found, self.block)

    def levels(self) -> Array:
        """Return what each byte stands for."""
        return np.arange(256, dtype=np.uint8).view(DTYPES[self.packed.dtype]).astype(np.float32)

    def codes(self, start: int, stop: int) -> Array:
        """Return the bytes."""
        with self.packed.window(start, stop) as values:
            return values.view(np.uint8).copy()

    def scales(self, start: int, stop: int) -> Array:
        """Spread the scales of the blocks that these entries' rows touch."""
        columns, (height, width) = self.shape[1], self.block
        first, last = start // columns, -(-stop // columns)
        across = -(-columns // width)
        low, high = first // height, -(-last // height)
        with self.held.window(low * across, high * across) as stored:
            grid = _factors(stored).reshape(high - low, across)
        lines = grid[np.arange(first, last) // height - low]
        flat = np.repeat(lines, width, axis=1)[:, :columns].reshape(-1)
        return flat[start - first * columns : stop - first * columns]


def _factors(stored: Array) -> Array:
    if stored.dtype == np.uint8:
        return np.exp2(stored.astype(np.float32) - 127)
    return stored.astype(np.float32)


def claims(
    tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    """Return the float-8 tensors that a scale lies beside."""
    found = {}
    for name, tensor in tensors.items():
        beside = tuple(f"{name}{end}" for end in _SCALES if f"{name}{end}" in tensors)
        if beside and tensor.dtype in _EIGHTS:
            others = (f"{name.rpartition('.')[0]}.input_scale", f"{name}_activation_scale")
            found[name] = (*beside, *others)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> Quantised:
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
    scale = expect(tensors, beside[0], None, _FLOATS)
    if len(packed.shape) != 2:
        raise BadFile(f"its shape is {list(packed.shape)}: scales are known for matrices only")
    block = _block(packed.shape, scale.shape, method(config))
    return Quantised(Blocks(packed, scale, block), packed.dtype, model_dtype(config))


def _block(
    shape: tuple[int, ...], scales: tuple[int, ...], told: Mapping[str, Any]
) -> tuple[int, int]:
    """Return the rows and columns that share a scale.

    By the configuration where it names a size that fits, or else 128×128 as published.
    """
    rows, columns = max(1, shape[0]), max(1, shape[1])
    if scales in ((), (1,), (1, 1)):
        return rows, columns
    if scales in ((shape[0],), (shape[0], 1)):
        return 1, columns
    named = told.get("weight_block_size", [128, 128])
    if isinstance(named, list) and len(named) == 2:
        height, width = (whole(side, "a side of weight_block_size") for side in named)
        if scales == (-(-shape[0] // height), -(-shape[1] // width)):
            return height, width
    raise BadFile(f"scales of shape {list(scales)} fit no {list(shape)} in blocks of {named}")
