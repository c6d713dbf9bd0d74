"""bitsandbytes in four bits: NF4 and FP4, the absolute maxima plain or quantised once more.

Two codes a byte, the first in the high bits; a block of entries, flat, shares one maximum. The
description is JSON in a tensor of bytes (`QuantState.as_dict(packed=True)`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.quantised.described import expect, floating, places, sides, whole
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import Array, LazyTensor, numel

OWNER = "bitsandbytes"
_STATES = {".quant_state.bitsandbytes__nf4": "NF4", ".quant_state.bitsandbytes__fp4": "FP4"}
_PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
_LONGEST = 1 << 16  # bytes of a description


@dataclass(frozen=True)
class Nested:
    """Maxima that are themselves codes: their own levels, maxima and block, and what was taken off.

    A maximum is level · nested maximum + offset.
    """

    levels: LazyTensor
    absmax: LazyTensor
    blocksize: int
    offset: float

    def lift(self, codes: Array, first: int) -> Array:
        """Return the maxima of codes that begin at block `first`, float32."""
        last = first + len(codes)
        low, high = first // self.blocksize, -(-last // self.blocksize)
        outer = self.absmax.read(slice(low, high)).astype(np.float32)
        own = np.arange(first, last) // self.blocksize - low
        lifted: Array = self.levels.read()[codes] * outer[own] + np.float32(self.offset)
        return lifted


@dataclass(frozen=True)
class FourBits:
    """Where a weight of four bits lies."""

    shape: tuple[int, ...]
    packed: LazyTensor
    map: LazyTensor
    absmax: LazyTensor
    blocksize: int
    nested: Nested | None = None
    unit: float = 1.0

    @property
    def storage(self) -> Hashable:
        """The places of its parts, and what the description says of them."""
        more = () if self.nested is None else (self.nested.levels, self.nested.absmax)
        found = places(self.packed, self.map, self.absmax, *more)
        told = None if self.nested is None else (self.nested.blocksize, self.nested.offset)
        return None if found is None else (found, self.shape, self.blocksize, told)

    def levels(self) -> Array:
        """Return the sixteen levels."""
        return self.map.read().astype(np.float32)

    def codes(self, start: int, stop: int) -> Array:
        """Take the bytes apart."""
        first, last = start // 2, -(-stop // 2)
        with self.packed.window(first, last) as packed:
            codes = np.empty(2 * len(packed), np.uint8)
            np.right_shift(packed, 4, out=codes[::2])
            np.bitwise_and(packed, 15, out=codes[1::2])
        return codes[start - 2 * first : stop - 2 * first]

    def scales(self, start: int, stop: int) -> Array:
        """Repeat the maxima of the blocks that these entries touch."""
        low, high = start // self.blocksize, -(-stop // self.blocksize)
        maxima = self.absmax.read(slice(low, high))
        if self.nested is not None:
            maxima = self.nested.lift(maxima, low)
        ends = np.minimum(np.arange(low + 1, high + 1) * self.blocksize, stop)
        counts = np.diff(ends, prepend=start)
        return np.repeat(maxima.astype(np.float32), counts)


def claims(
    tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    """Return the weights that a description lies beside."""
    found: dict[str, tuple[str, ...]] = {}
    for name in tensors:
        for ending in _STATES:
            if name.endswith(ending):
                stem = name.removesuffix(ending)
                parts = (name, *(f"{stem}{part}" for part in _PARTS))
                found[stem] = (*found.get(stem, ()), *parts)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> Quantised:
    """Resolve one weight from its description.

    Raises
    ------
    BadFile
        The description is no such JSON, or a part does not have the size that it says.
    """
    endings = [ending for ending in _STATES if f"{name}{ending}" in tensors]
    if len(endings) > 1:
        raise BadFile("it is described both as NF4 and as FP4")
    told = _description(f"{name}{endings[0]}", tensors)
    shape = sides(told.get("shape"))
    size = numel(shape)
    blocksize = whole(told.get("blocksize"), "its blocksize")
    packed = expect(tensors, name, None, ("U8",))
    if numel(packed.shape) != -(-size // 2):
        raise BadFile(f"{numel(packed.shape):,} bytes hold no shape {list(shape)} in 4 bits")
    blocks = -(-size // blocksize)
    nested = "nested_blocksize" in told or f"{name}.nested_absmax" in tensors
    absmax = expect(tensors, f"{name}.absmax", (blocks,), ("U8",) if nested else ("F32",))
    levels = expect(tensors, f"{name}.quant_map", (16,), ("F32",))
    outer = _nested(name, tensors, told, blocks) if nested else None
    packing = FourBits(shape, packed, levels, absmax, blocksize, outer)
    return Quantised(packing, _STATES[endings[0]], floating(told.get("dtype"), "F32"))


def _nested(
    name: str, tensors: Mapping[str, LazyTensor], told: Mapping[str, Any], blocks: int
) -> Nested:
    blocksize = whole(told.get("nested_blocksize"), "its nested_blocksize")
    offset = told.get("nested_offset")
    if not isinstance(offset, (int, float)) or not math.isfinite(offset):
        raise BadFile(f"its nested_offset is {str(offset)[:40]}, expected a number")
    absmax = expect(tensors, f"{name}.nested_absmax", (-(-blocks // blocksize),), ("F32",))
    levels = expect(tensors, f"{name}.nested_quant_map", (256,), ("F32",))
    return Nested(levels, absmax, blocksize, float(offset))


def _description(name: str, tensors: Mapping[str, LazyTensor]) -> Mapping[str, Any]:
    held = expect(tensors, name, None, ("U8",))
    if len(held.shape) != 1 or held.shape[0] > _LONGEST:
        raise BadFile(f"{name} is no description: its shape is {list(held.shape)}")
    try:
        found = parse_json(held.read().tobytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} is not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise BadFile(f"{name} is not a JSON object")
    return found
