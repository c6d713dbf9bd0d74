"""A part of a weight of few bits: codes, what their blocks share, and the values they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array

#: Entries that are dequantised at a time: what is made of them on the way fits a core's cache.
CHUNK = 1 << 16
#: Bytes of a line of a cache.
_LINE = 64
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
            high, wide = place.shape
            # rows a cache line longer than a power of two, or a column's lines evict each other
            held = np.empty((wide, high + _LINE // out.itemsize), out.dtype)[:, :high]
            held[...] = values.reshape(wide, high)
            place[...] = held.T
        else:
            place[...] = values.reshape(place.shape)


def alike(one: Tile, two: Tile) -> bool:
    """Say whether two tiles have the same place, codes, scales, zeros and offsets."""
    if (one.rows, one.columns, one.turned) != (two.rows, two.columns, two.turned):
        return False
    pairs = ((one.codes, two.codes), (one.scales, two.scales))
    held = ((one.zeros, two.zeros), (one.offsets, two.offsets), (one.groups, two.groups))
    return all(np.array_equal(a, b) for a, b in pairs) and all(
        a is b if a is None or b is None else np.array_equal(a, b) for a, b in held
    )
