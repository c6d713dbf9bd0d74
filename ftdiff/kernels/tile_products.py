"""Products of many rows, tile by tile: what is multiplied with what, where it is held, and the run.

A tile of every row is decoded into float64; then pairs of panels of them are multiplied while they
are in a core's own caches.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from ftdiff.kernels import chains, driver, panels, readers
from ftdiff.kernels.jit import Target, address, function
from ftdiff.kernels.lanes import LANES
from ftdiff.kernels.panels import WIDTH
from ftdiff.kernels.readers import TILE, Reader
from ftdiff.kernels.tile_loops import Panels
from ftdiff.tensors import Array

#: Panels of the first rows that stay in a core's nearest cache while those of the second pass.
_NEAR = 2
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS = (*(_POINTER, _LONG) * 3, *(_POINTER,) * 2, *(_LONG,) * 3)
#: Bytes of a decoded tile (in float32 of twice as many entries), of sixteen counts, of the lanes of
#: a sum, and of a line of a cache.
_TILE, _LOST, _LANES, _LINE = 8 * TILE, 4 * LANES, 8 * WIDTH, 64


@dataclass(frozen=True, eq=False)
class Schedule:
    """The products of a tile.

    Attributes
    ----------
    rows
        How many rows there are.
    calls
        A line for each two panels: where the code is, and where they and their sums begin.
    sums
        How many sums there are.
    places
        Which of them is that of a row and a row: n × n, or m × s.
    """

    rows: int
    calls: Array
    sums: int
    places: Array


@lru_cache(maxsize=64)
def triangle(n: int, target: Target, *, single: bool = False) -> Schedule:
    """Return the products of all pairs of n rows; of float32 rows if `single`."""
    starts = range(0, n, panels.most_rows(target))
    places = ((i, j) for j in starts for i in starts if i <= j)
    return _schedule(places, (0, n), (0, n), target, single)


@lru_cache(maxsize=64)
def rectangle(m: int, s: int, target: Target, *, single: bool = False) -> Schedule:
    """Return the products of each of m rows with each of the s that follow."""
    most = panels.most_rows(target)
    near = _NEAR * most
    places = (
        (i, m + j)
        for first in range(0, m, near)
        for j in range(0, s, most)
        for i in range(first, min(first + near, m), most)
    )
    return _schedule(places, (0, m), (m, m + s), target, single)


def _schedule(
    pairs: Iterable[tuple[int, int]],
    left: tuple[int, int],
    right: tuple[int, int],
    target: Target,
    single: bool,
) -> Schedule:
    most, written = panels.most_rows(target), chains if single else panels
    width = chains.width(target.lanes, fused=target.fused) if single else target.lanes // 2
    calls: list[tuple[int, ...]] = []
    places = np.zeros((right[1], right[1]), np.intp)
    count = 0
    for i, j in pairs:
        sides = min(most, left[1] - i), min(most, right[1] - j)
        shape = Panels(*sides, i == j, width, target.fused)
        code = address((single, shape), target, "multiply", partial(written.assembly, shape))
        calls.append((code, i * _TILE, j * _TILE, count * _LANES))
        for a, b in shape.pairs:
            places[i + a, j + b] = places[j + b, i + a] = count
            count += 1
    return Schedule(right[1], np.array(calls, np.int64), count, places[slice(*left), slice(*right)])


class Workspace:
    """What is written on the way; small enough to stay in a core's own caches."""

    def __init__(self, rows: int, pairs: int) -> None:
        self.rows = rows
        self._each = {"tile": _TILE, "lost": _LOST, "lanes": _LANES}
        counts = {"tile": rows + 1, "lost": rows + 1, "lanes": pairs}
        sizes = {name: self._each[name] * count for name, count in counts.items()}
        self._held = np.zeros(sum(sizes.values()) + _LINE, np.uint8)
        start = -self._held.ctypes.data % _LINE
        self._at: dict[str, int] = {}
        for name, size in sizes.items():
            self._at[name] = start
            start += size

    def at(self, name: str, row: int) -> int:
        """Return the address of a row's part, or of the base's: row -1."""
        row += name != "lanes"  # the base's comes first
        start: int = self._held.ctypes.data
        return start + self._at[name] + row * self._each[name]

    def lost(self) -> Array:
        """Return how many changes of each row were not finite."""
        start = self._at["lost"] + _LOST
        held = self._held[start : start + self.rows * _LOST].view(np.int32)
        return np.asarray(held.reshape(self.rows, LANES).sum(axis=1, dtype=np.int64))


def reading(reader: Reader, target: Target) -> int:
    """Return where the code of a reader is."""
    return address(reader, target, "read", partial(readers.assembly, reader))


def run(
    readings: Array,
    schedule: Schedule,
    space: Workspace,
    tiles: tuple[int, int, int],
    target: Target,
) -> Array:
    """Return the sums, a row for each run of tiles, in the schedule's order.

    Parameters
    ----------
    readings
        int64, a line for each row, after the base's where there is one: see `driver.READING`.
    schedule, space
        What is multiplied, and where.
    tiles
        How many there are, how many of them are whole, and how many make a row of the result.
    target
        The processor.
    """
    at, lanes = space.at("tile", 0), space.at("lanes", 0)
    calls = schedule.calls + np.array([0, at, at, lanes])
    count, whole, per = tiles
    sums = np.zeros((-(-count // per), schedule.sums))
    code = function("changes", target, "changes", _ARGUMENTS, driver.assembly)
    code(
        readings.ctypes.data, len(readings), calls.ctypes.data, len(calls),
        lanes, schedule.sums, space.at("tile", -1), sums.ctypes.data,
        count, whole, per,
    )  # fmt: skip
    return sums
