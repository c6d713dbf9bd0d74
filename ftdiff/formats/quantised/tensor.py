"""A weight that is stored as codes and scales, and lends its values dequantised."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats.quantised.tile import Tile, alike
from ftdiff.tensors import DTYPES, Array, numel


class Packing(Hashable, Protocol):
    """How codes and scales of one weight lie in the file; frozen, picklable, holds lazy tensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape, as the model has it."""

    @property
    def width(self) -> int:
        """The entries of a row, as they are unpacked; the last row may be cut short."""

    @property
    def storage(self) -> Hashable:
        """Where the bytes are; None where nothing is claimed."""

    @property
    def unit(self) -> float:
        """What every product of level and scale is multiplied by, in float32."""

    def levels(self) -> Array:
        """Return the level of each code, float32."""

    def tiles(self, first: int, last: int) -> Iterator[Tile]:
        """Yield tiles that cover rows `first` to `last`; nothing else is asked of the file."""


@dataclass(frozen=True)
class Quantised:
    """A lazy tensor over a packing: only the blocks that a read touches are dequantised.

    Parameters
    ----------
    packing
        Where codes and scales are.
    scheme
        What it is called: NF4, INT8, F8_E4M3, ….
    dtype
        The float dtype in which the values are lent: computed in float32, rounded once.
    place
        Source and name, for complaints.
    """

    packing: Packing
    scheme: str
    dtype: str
    place: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return self.packing.shape

    @property
    def storage(self) -> Hashable:
        """The packing's bytes, as this scheme and dtype read them."""
        found = self.packing.storage
        return None if found is None else (self.scheme, self.dtype, found)

    def read(self, rows: slice = slice(None)) -> Array:
        """Return these rows, dequantised."""
        if not self.shape:
            return self._values(0, 1).reshape(())
        start, stop, step = rows.indices(self.shape[0])
        width = numel(self.shape[1:])
        flat = self._values(start * width, max(start, stop) * width)
        return flat.reshape(max(stop - start, 0), *self.shape[1:])[::step]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend these entries, dequantised."""
        yield self._values(start, stop)

    def held(self, dtype: str) -> Quantised:
        """Return the same weight, lent in another dtype."""
        return replace(self, dtype=dtype)

    def cells(self, start: int, stop: int) -> tuple[Array, Array]:
        """Return what rounds to the stored codes: the least and the largest value, float32, flat.

        A cell ends half-way to the next level; the outermost have no end.
        """
        run, low = self._run(start, stop, np.dtype(np.float32))
        high = np.empty_like(low)
        with np.errstate(invalid="ignore"):  # no scale, and no end: nothing is known
            for tile in self._tiles(run):
                ends = [tile.values(ends, self.packing.unit) for ends in _edges(self.packing)]
                tile.put(np.minimum(*ends), low)
                tile.put(np.maximum(*ends), high)
        return self._cut(low, run, start, stop), self._cut(high, run, start, stop)

    def unpacked(self, start: int, stop: int) -> Unpacked:
        """Return the codes of these entries, and their scales, asked of the file once."""
        run, _ = self._run(start, stop, np.dtype(np.bool_))
        return Unpacked(self, start, stop, tuple(self._tiles(run)))

    def _values(self, start: int, stop: int, tiles: Iterable[Tile] | None = None) -> Array:
        run, out = self._run(start, stop, DTYPES[self.dtype])
        with np.errstate(all="ignore"):  # beyond the largest number of the dtype: an infinity
            levels = _levels(self.packing)
            for tile in self._tiles(run) if tiles is None else tiles:
                tile.put(tile.rounded(levels, self.packing.unit, out.dtype), out)
        return self._cut(out, run, start, stop)

    def _run(self, start: int, stop: int, dtype: np.dtype[np.generic]) -> tuple[range, Array]:
        """Return the rows that hold these entries, and room for them."""
        width = max(1, self.packing.width)
        run = range(start // width, -(-stop // width)) if stop > start else range(0)
        return run, np.empty((len(run), width), dtype)

    def _cut(self, rows: Array, run: range, start: int, stop: int) -> Array:
        offset = run.start * rows.shape[1]
        return rows.reshape(-1)[start - offset : max(start, stop) - offset] if run else rows[:0, 0]

    def _tiles(self, run: range) -> Iterator[Tile]:
        try:
            yield from self.packing.tiles(run.start, run.stop) if run else ()
        except BadFile as error:
            raise BadFile(f"{self.place}: {error}") from error


@dataclass(frozen=True)
class Unpacked:
    """Codes and scales of some entries of a weight, in memory."""

    weight: Quantised
    start: int
    stop: int
    tiles: tuple[Tile, ...]

    def values(self) -> Array:
        """Return the entries, dequantised."""
        return self.weight._values(self.start, self.stop, self.tiles)

    def steps_sq(self) -> Array:
        """Return the squared width of each entry's cell, float32, flat.

        The outermost cells are as wide beyond their level as before it.
        """
        packing = self.weight.packing
        run, out = self.weight._run(self.start, self.stop, np.dtype(np.float32))
        widths_sq = np.square(_widths(packing) * np.float32(packing.unit))
        with np.errstate(all="ignore"):
            for tile in self.tiles:
                scales_sq = np.nan_to_num(np.square(tile.scales), nan=0.0, posinf=0.0)
                plain = replace(tile, scales=scales_sq, zeros=None, offsets=None)
                plain.put(plain.values(widths_sq, 1.0), out)
        return self.weight._cut(out, run, self.start, self.stop)

    def same(self, other: Unpacked) -> bool:
        """Say whether these entries have the same codes and scales in both.

        Then they have the same values, bit for bit; else they may have.
        """
        one, two = self.weight, other.weight
        if (one.scheme, one.dtype, one.shape) != (two.scheme, two.dtype, two.shape):
            return False
        mine, its = one.packing, two.packing
        if mine.unit != its.unit or _levels(mine).tobytes() != _levels(its).tobytes():
            return False
        matching = (self.start, self.stop, len(self.tiles)) == (
            other.start, other.stop, len(other.tiles),
        )  # fmt: skip
        pairs = zip(self.tiles, other.tiles, strict=False)
        return matching and all(alike(here, there) for here, there in pairs)


@dataclass(frozen=True)
class Broken:
    """A weight whose siblings contradict it: reading it says so."""

    shape: tuple[int, ...]
    reason: str
    dtype: str

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Raise the complaint."""
        raise BadFile(self.reason)

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Raise the complaint."""
        raise BadFile(self.reason)


@lru_cache(maxsize=256)
def _levels(packing: Packing) -> Array:
    return packing.levels()


@lru_cache(maxsize=256)
def _widths(packing: Packing) -> Array:
    """Return the width of each code's cell, in units of its scale."""
    levels, (low, high) = _levels(packing), _edges(packing)
    with np.errstate(invalid="ignore"):
        below = np.where(np.isfinite(low), levels - low, high - levels)
        above = np.where(np.isfinite(high), high - levels, levels - low)
    widths: Array = np.nan_to_num(below + above, posinf=0.0).astype(np.float32)
    return widths


@lru_cache(maxsize=256)
def _edges(packing: Packing) -> tuple[Array, Array]:
    """Return the ends of each code's cell, in units of its scale."""
    levels = _levels(packing)
    distinct = np.unique(levels[np.isfinite(levels)])
    middles = (distinct[1:] + distinct[:-1]) / 2
    ends = np.concatenate([[-np.inf], middles, [np.inf]]).astype(np.float32)
    place = np.searchsorted(distinct, levels)
    place[~np.isfinite(levels)] = 0
    return ends[place], ends[np.minimum(place + 1, len(ends) - 1)]
