"""bitsandbytes in four bits: NF4 and FP4, the absolute maxima plain or quantised once more.

Two codes a byte, the first in the high bits; a block of entries, flat, shares one maximum. The
description is JSON in a tensor of bytes (`QuantState.as_dict(packed=True)`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.quantised.blocks import Blocks
from ftdiff.formats.quantised.codes import Nibbles
from ftdiff.formats.quantised.described import Told, expect, floating, places, sides, whole
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.tensors import Array, LazyTensor, numel

OWNER = "bitsandbytes"
_STATES = {".quant_state.bitsandbytes__nf4": "NF4", ".quant_state.bitsandbytes__fp4": "FP4"}
_PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
_LARGEST = 3.4e38  # what float32 can hold, below
_LONGEST = 1 << 16  # bytes of a description


@dataclass(frozen=True)
class Maxima:
    """The largest absolute value of each block: plain, or themselves codes of a level.

    Those are level · nested maximum + what was taken off.
    """

    tensor: LazyTensor
    table: LazyTensor | None = None
    outer: LazyTensor | None = None
    blocksize: int = 1
    offset: float = 0.0
    height: int = 1

    @property
    def storage(self) -> Hashable:
        """The places of its parts, and what the description says of them."""
        parts = (self.tensor, self.table, self.outer)
        found = places(*(part for part in parts if part is not None))
        return None if found is None else (found, self.blocksize, self.offset)

    def read(self, first: int, last: int) -> Array:
        """Return the maxima of these blocks."""
        stored = self.tensor.read(slice(first, last))
        if self.table is None or self.outer is None:
            return stored.astype(np.float32).reshape(-1, 1)
        low, high = first // self.blocksize, -(-last // self.blocksize)
        outer = self.outer.read(slice(low, high)).astype(np.float32)
        own = np.arange(first, last) // self.blocksize - low
        lifted: Array = self.table.read()[stored] * outer[own] + np.float32(self.offset)
        return lifted.reshape(-1, 1)


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the weights that a description lies beside."""
    found: dict[str, tuple[str, ...]] = {}
    for name in tensors:
        for ending in _STATES:
            if name.endswith(ending):
                stem = name.removesuffix(ending)
                parts = (name, *(f"{stem}{part}" for part in _PARTS))
                found[stem] = (*found.get(stem, ()), *parts)
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one weight from its description.

    Raises
    ------
    BadFile
        The description is no such JSON, or a part does not have the size that it says.
    """
    endings = [ending for ending in _STATES if f"{name}{ending}" in tensors]
    if len(endings) > 1:
        raise BadFile("it is described both as NF4 and as FP4")
    state = _description(f"{name}{endings[0]}", tensors)
    shape = sides(state.get("shape"))
    size = numel(shape)
    blocksize = whole(state.get("blocksize"), "its blocksize")
    packed = expect(tensors, name, None, ("U8",))
    if numel(packed.shape) != -(-size // 2):
        raise BadFile(f"{numel(packed.shape):,} bytes hold no shape {list(shape)} in 4 bits")
    blocks = -(-size // blocksize)
    nested = "nested_blocksize" in state or f"{name}.nested_absmax" in tensors
    absmax = expect(tensors, f"{name}.absmax", (blocks,), ("U8",) if nested else ("F32",))
    levels = expect(tensors, f"{name}.quant_map", (16,), ("F32",))
    maxima = _nested(name, tensors, state, absmax) if nested else Maxima(absmax)
    width = min(blocksize, size + size % 2)
    if width % 2 and blocks > 1:
        raise BadFile(f"its blocksize is {blocksize}, an odd number of 4 bits")
    packing = Blocks(shape, width, width, Nibbles(packed, True), levels, maxima)
    return Quantised(packing, _STATES[endings[0]], floating(state.get("dtype"), "F32"))


def _nested(
    name: str, tensors: Mapping[str, LazyTensor], state: Mapping[str, Any], absmax: LazyTensor
) -> Maxima:
    blocksize = whole(state.get("nested_blocksize"), "its nested_blocksize")
    offset = state.get("nested_offset")
    if not isinstance(offset, (int, float)) or not abs(offset) < _LARGEST:
        raise BadFile(f"its nested_offset is {str(offset)[:40]}, expected a number")
    outer = expect(tensors, f"{name}.nested_absmax", (-(-absmax.shape[0] // blocksize),), ("F32",))
    table = expect(tensors, f"{name}.nested_quant_map", (256,), ("F32",))
    return Maxima(absmax, table, outer, blocksize, float(offset))


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
