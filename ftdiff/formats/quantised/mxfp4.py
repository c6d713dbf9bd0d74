"""The experts of gpt-oss: MXFP4 along the inputs, of matrices that the model holds turned.

`…_blocks` is experts × outputs × runs × 16 bytes, `…_scales` has an exponent for each run of 32;
the weight is experts × inputs × outputs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.codes import levels, nibbles
from ftdiff.formats.quantised.described import Told, expect, places
from ftdiff.formats.quantised.scales import decoded
from ftdiff.formats.quantised.tensor import Quantised
from ftdiff.formats.quantised.tile import CHUNK, Tile
from ftdiff.tensors import Array, LazyTensor, strip

OWNER = "gpt-oss"
_RUN, _BYTES = 32, 16
_BLOCKS, _SCALES = "_blocks", "_scales"
_SIDE = int(CHUNK**0.5)


@dataclass(frozen=True)
class TurnedRuns:
    """Where such experts lie: experts × inputs × outputs of two codes a byte."""

    packed: LazyTensor
    held: LazyTensor
    unit: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Experts × inputs × outputs."""
        experts, outputs, runs = self.held.shape
        return experts, runs * _RUN, outputs

    @property
    def width(self) -> int:
        """The outputs."""
        return self.held.shape[1]

    @property
    def storage(self) -> Hashable:
        """The places of both parts."""
        return places(self.packed, self.held)

    def levels(self) -> Array:
        """Return the levels of E2M1."""
        return levels("E2M1")

    def tiles(self, first: int, last: int) -> Iterator[Tile]:
        """Yield rectangles of these inputs of each expert, turned."""
        _, inputs, _ = self.shape
        for expert in range(first // inputs, -(-last // inputs)):
            begin, end = max(first - expert * inputs, 0), min(last - expert * inputs, inputs)
            yield from self._expert(expert, begin, end, expert * inputs + begin - first)

    def _expert(self, expert: int, begin: int, end: int, row: int) -> Iterator[Tile]:
        _, outputs, count = self.held.shape
        rows = range(expert * outputs, (expert + 1) * outputs)
        runs = range(begin // _RUN, -(-end // _RUN))
        own = range(runs.start * _BYTES, runs.stop * _BYTES)
        with strip(self.held, count, rows, runs) as stored:
            scales = decoded(stored, "U8")
        with strip(self.packed, count * _BYTES, rows, own) as stored:
            for low in range(0, outputs, _SIDE):
                high = min(low + _SIDE, outputs)
                for start in range(0, len(runs), _SIDE // _RUN):
                    stop = min(start + _SIDE // _RUN, len(runs))
                    codes = nibbles(stored[low:high, start * _BYTES : stop * _BYTES])
                    shared = scales[low:high, start:stop]
                    at = (runs.start + start) * _RUN
                    cut = slice(max(begin - at, 0), min(end - at, codes.shape[1]))
                    into = slice(row + at + cut.start - begin, row + at + cut.stop - begin)
                    yield _tile(into, slice(low, high), codes, shared, cut)


def _tile(rows: slice, columns: slice, codes: Array, scales: Array, cut: slice) -> Tile:
    """Return a tile of outputs × inputs, of which a part of the inputs is wanted."""
    if (cut.start, cut.stop) == (0, codes.shape[1]):
        codes = codes.reshape(len(codes), -1, _RUN)
        return Tile(rows, columns, codes, scales[:, :, None], turned=True)
    spread = np.repeat(scales, _RUN, axis=1)[:, cut]
    return Tile(rows, columns, codes[:, cut], spread, turned=True)


def claims(tensors: Mapping[str, LazyTensor], told: Told) -> Mapping[str, tuple[str, ...]]:
    """Return the weights that have both parts."""
    found = {}
    for name, tensor in tensors.items():
        stem = name.removesuffix(_BLOCKS)
        both = stem != name and f"{stem}{_SCALES}" in tensors
        if both and tensor.dtype == "U8" and len(tensor.shape) == 4:
            found[stem] = (name, f"{stem}{_SCALES}")
    return found


def open_(name: str, tensors: Mapping[str, LazyTensor], told: Told) -> Quantised:
    """Resolve one weight.

    Raises
    ------
    BadFile
        Its parts do not fit each other.
    """
    packed = expect(tensors, f"{name}{_BLOCKS}", None, ("U8",))
    held = expect(tensors, f"{name}{_SCALES}", packed.shape[:-1], ("U8",))
    if packed.shape[-1] != _BYTES or 0 in packed.shape:
        raise BadFile(f"its blocks are {list(packed.shape)}, expected {_BYTES} bytes each")
    return Quantised(TurnedRuns(packed, held), "MXFP4", told.dtype)
