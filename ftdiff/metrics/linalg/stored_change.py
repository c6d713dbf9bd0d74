"""What a change can have been before its sum with the base was rounded to the file's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftdiff.deltas.off_grid import off_grid
from ftdiff.tensors import DTYPES, Array

#: Intervals narrower than this share of the median one are taken to be as wide: an entry near zero
#: would otherwise outweigh its whole row.
_NARROWEST = 1e-2
#: Grids coarser than a file's dtype on which its values may lie, the coarsest first.
_COARSER = {"F64": ("BF16", "F16", "F32"), "F32": ("BF16", "F16")}
_BLOCK = 1 << 12
#: Entries beyond which a change is held in float32, and worked on by runs of rows; a finer file's
#: is float64 at any size. Of those runs, the entries.
LARGE, _RUN = 1 << 18, 1 << 18
#: About how many entries of a large change their median spacing is taken from.
_MEDIAN = 1 << 16
#: The variance of a value rounded to spacing 1; and of squares of such, in units of their mean's
#: square: (1/80 − 1/144)·144.
_UNIFORM, _SPREAD = 1 / 12, 0.8
#: Squared spacings of float32 that a product made in it is off by, the order of its sum aside.
_PRODUCT = 1 / 3


@dataclass(frozen=True, eq=False)
class Rounded:
    """A stored change: M − W0, and between what each entry was before M was rounded.

    Attributes
    ----------
    change, low, high
        Rows × columns, float64; float32 where they are large.
    variance
        Of each entry, with that of ΔW's own rounding.
    grid
        The dtype on whose grid M lies.
    """

    change: Array
    low: Array
    high: Array
    variance: Array
    grid: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns."""
        rows, columns = self.change.shape
        return rows, columns

    @property
    def floor(self) -> float:
        """What rounding adds to ‖ΔW‖², on average."""
        return float(self.variance.sum(dtype=np.float64))

    @property
    def own_floor(self) -> float:
        """What the rounding of the sum alone adds, that of ΔW itself aside."""
        return self._total(lambda rows: np.square(self.high[rows] - self.low[rows])) / 12

    @property
    def floor_error(self) -> float:
        """The standard deviation of what it adds."""
        return float(np.sqrt(_SPREAD * self._total(lambda rows: np.square(self.variance[rows]))))

    @property
    def norm_sq(self) -> float:
        """‖ΔW‖² as it is stored."""
        return self._total(lambda rows: np.square(self.change[rows]))

    @property
    def is_large(self) -> bool:
        """Whether it is held in float32."""
        return bool(self.change.dtype == np.float32)

    @property
    def turned(self) -> Rounded:
        """The same with rows and columns exchanged."""
        return Rounded(self.change.T, self.low.T, self.high.T, self.variance.T, self.grid)

    def put(self, rows: slice, W: Array, M: Array) -> None:
        """Write rows over: W in float64, M in the grid's dtype."""
        one = _of_grid(W, M, self.grid)
        self.change[rows], self.low[rows], self.high[rows] = one.change, one.low, one.high
        self.variance[rows] = one.variance

    def runs(self) -> Iterator[slice]:
        """Yield runs of rows that are worked on at a time: all where it is not large."""
        rows, columns = self.shape
        step = max(1, _RUN // columns) if self.is_large else rows
        for start in range(0, rows, step):
            yield slice(start, min(start + step, rows))

    def _total(self, of: Callable[[slice], Array]) -> float:
        return sum(float(of(rows).sum(dtype=np.float64)) for rows in self.runs())

    def weights(self, twice: bool = False, rows: slice = slice(None)) -> Array:
        """Return 1/ulp² of each entry, relative to the median ulp.

        Parameters
        ----------
        twice
            ΔW was rounded before it was added.
        rows
            Of which.
        """
        middle = self._middles[twice]
        width = self._width(twice, (rows, slice(None)))
        weights: Array = np.square(middle / np.maximum(width, _NARROWEST * middle))
        return weights

    def _width(self, twice: bool, at: tuple[slice, slice]) -> Array:
        if not twice:
            return np.asarray(self.high[at] - self.low[at])
        return np.asarray(np.sqrt(self.variance[at] / self.variance.dtype.type(_UNIFORM)))

    @cached_property
    def _middles(self) -> tuple[float, float]:
        """Return the median spacing of the sum, and that with ΔW's own; of some where large."""
        step = 1
        if self.is_large:
            step = max(1, int(np.sqrt(self.change.size / _MEDIAN)))
        some = (slice(None, None, step), slice(None, None, step))
        once, twice = (float(np.median(self._width(which, some))) for which in (False, True))
        return once, twice

    def holds(self, change: Array, rows: slice = slice(None)) -> Array:
        """Say of each entry of a change whether its sum with the base rounds to what is stored."""
        inside: Array = (change >= self.low[rows]) & (change <= self.high[rows])
        return inside


def rounded(W: Array, M: Array, dtype: str) -> Rounded:
    """Return what is known of a change.

    Parameters
    ----------
    W
        The base's matrix, float64 or as it is stored.
    M
        The merged one, as it is stored.
    dtype
        The code of the dtype in which it is stored.
    """
    grid = _grid(M, dtype)
    if M.size <= LARGE or "F64" in (grid, dtype):
        return _of_grid(W.astype(np.float64), M.astype(DTYPES[grid]), grid)
    change, low, high, variance = (np.empty(M.shape, np.float32) for _ in range(4))
    found = Rounded(change, low, high, variance, grid)
    for rows in found.runs():
        found.put(rows, W[rows].astype(np.float64), M[rows].astype(DTYPES[grid]))
    return found


def _of_grid(W: Array, on_grid: Array, grid: str) -> Rounded:
    exact = on_grid.astype(np.float64)
    one = on_grid.dtype.type(np.inf)
    above, below = (
        np.nextafter(on_grid, side).astype(np.float64) for side in (one, np.negative(one))
    )
    high = np.where(np.isfinite(above), (exact + above) / 2, exact) - W
    low = np.where(np.isfinite(below), (exact + below) / 2, exact) - W
    change = exact - W
    own = _spacing(change, "F32" if grid in ("F32", "F64") else grid)
    share = _PRODUCT if grid in ("F32", "F64") else _UNIFORM
    variance = np.square(high - low) * _UNIFORM + np.square(own) * share
    return Rounded(change, low, high, variance, grid)


def overwrite(stored: Rounded, W: Array, change: Callable[[slice], Array]) -> None:
    """Put in the place of a large change what a file of the same grid would hold of another.

    Parameters
    ----------
    stored
        The change: its arrays are written over.
    W
        The base's matrix, as it is stored.
    change
        The other one's rows.
    """
    held = DTYPES[stored.grid]
    for rows in stored.runs():
        M = (W[rows].astype(np.float32) + change(rows)).astype(held)
        stored.put(rows, W[rows].astype(np.float64), M)


def again(stored: Rounded, W: Array, change: Array) -> Rounded:
    """Return what a file of the same grid would hold of another change."""
    held = DTYPES[stored.grid]
    working = np.float64 if stored.grid == "F64" else np.float32
    M = (W.astype(working) + change.astype(working)).astype(held)
    return _of_grid(W, M, stored.grid)


def _grid(M: Array, dtype: str) -> str:
    for coarser in _COARSER.get(dtype, ()):
        if not off_grid(M.reshape(-1), dtype, coarser, _BLOCK).any():
            return coarser
    return dtype


def _spacing(change: Array, dtype: str) -> Array:
    """Return the distance of neighbours in a dtype, at each entry."""
    sizes = np.abs(change).astype(DTYPES[dtype])
    beyond = np.nextafter(sizes, sizes.dtype.type(np.inf)).astype(np.float64)
    found: Array = np.where(np.isfinite(beyond), beyond - sizes.astype(np.float64), 0.0)
    return found
