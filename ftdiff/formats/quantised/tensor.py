"""A weight that is stored as codes and scales, and lends its values dequantised."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.tensors import DTYPES, Array, numel

#: Entries that are dequantised at a time: what is made of them on the way fits a core's cache.
CHUNK = 1 << 16
#: How many times more entries than levels make a table of every block's worth while.
_WORTH = 2


@dataclass(frozen=True)
class Tile:
    """Some rows and columns of a run of rows: W = (level of the code − zero) · scale + offset.

    Parameters
    ----------
    rows, columns
        Where it is in the run.
    codes
        Indices into the levels, rows × columns, of which the columns may be split into blocks.
    scales, zeros, offsets
        float32, one for each block: shaped to be broadcast against the codes.
    groups
        The block of each column, where those of a block are not beside each other; scales, zeros
        and offsets are then rows × blocks.
    turned
        The codes, and what blocks share, are columns × rows.
    """

    rows: slice
    columns: slice
    codes: Array
    scales: Array
    zeros: Array | None = None
    offsets: Array | None = None
    groups: Array | None = None
    turned: bool = False

    def values(self, levels: Array, unit: float) -> Array:
        """Return what stands for these codes, of a table of levels, float32."""
        if self.groups is not None:
            return self._from_table(levels, unit, np.dtype(np.float32))
        return self._computed(np.take(levels, self.codes, mode="clip"), unit)

    def rounded(self, levels: Array, unit: float, dtype: np.dtype[np.generic]) -> Array:
        """Return these values for a dtype, rounded to it or not yet.

        NumPy rounds to float16 one by one: where blocks have many more entries than there are
        levels, the levels of each block are rounded instead.
        """
        few = self.scales.size * len(levels) * _WORTH <= self.codes.size
        if dtype == np.float16 and few and self.scales.shape[-1] == 1:
            return self._from_table(levels, unit, dtype)
        return self.values(levels, unit)

    def _computed(self, found: Array, unit: float) -> Array:
        if self.zeros is not None:
            found -= self.zeros
        found *= self.scales
        if unit != 1.0:
            found *= np.float32(unit)
        if self.offsets is not None:
            found += self.offsets
        return found

    def _from_table(self, levels: Array, unit: float, dtype: np.dtype[np.generic]) -> Array:
        """Return the values from a table of every level in every block."""
        blocks, count = self.scales.shape, len(levels)
        if self.groups is None:
            table = np.broadcast_to(levels, (*blocks[:-1], count)).copy()
            first = np.arange(self.scales.size, dtype=np.intp).reshape(blocks) * count
            table = self._computed(table, unit)
        else:
            shared = (None if one is None else one[:, :, None] for one in self._shared)
            scales, zeros, offsets = shared
            assert scales is not None
            apart = Tile(self.rows, self.columns, self.codes, scales, zeros, offsets)
            table = np.broadcast_to(levels, (*blocks, count)).copy()
            first = np.arange(blocks[0], dtype=np.intp)[:, None] * (blocks[1] * count)
            first = first + self.groups.astype(np.intp) * count
            table = apart._computed(table, unit)
        return np.take(table.astype(dtype, copy=False), first + self.codes, mode="clip")

    @property
    def _shared(self) -> tuple[Array | None, Array | None, Array | None]:
        return self.scales, self.zeros, self.offsets

    def put(self, values: Array, out: Array) -> None:
        """Write values of this tile into the run, rounded to its dtype."""
        place = out[self.rows, self.columns]
        if self.turned:
            held = values.astype(out.dtype).reshape(place.shape[1], place.shape[0])
            place[...] = held.T
        else:
            place[...] = values.reshape(place.shape)


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
        widths = _widths(packing)
        with np.errstate(all="ignore"):
            for tile in self.tiles:
                held = replace(tile, zeros=None, offsets=None).values(widths, packing.unit)
                tile.put(np.square(held, out=held), out)
        found = self.weight._cut(out, run, self.start, self.stop)
        found[~np.isfinite(found)] = 0.0
        return found

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
        alike = (self.start, self.stop, len(self.tiles)) == (
            other.start, other.stop, len(other.tiles),
        )  # fmt: skip
        pairs = zip(self.tiles, other.tiles, strict=False)
        return alike and all(_alike(here, there) for here, there in pairs)


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


def _alike(one: Tile, two: Tile) -> bool:
    if (one.rows, one.columns, one.turned) != (two.rows, two.columns, two.turned):
        return False
    pairs = ((one.codes, two.codes), (one.scales, two.scales))
    held = ((one.zeros, two.zeros), (one.offsets, two.offsets), (one.groups, two.groups))
    return all(np.array_equal(a, b) for a, b in pairs) and all(
        a is b if a is None or b is None else np.array_equal(a, b) for a, b in held
    )


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
