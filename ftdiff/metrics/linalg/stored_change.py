"""What a change can have been before its sum with the base was rounded to the file's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.off_grid import off_grid
from ftdiff.tensors import DTYPES, Array

#: Intervals narrower than this share of the median one are taken to be as wide: an entry near zero
#: would otherwise outweigh its whole row.
_NARROWEST = 1e-2
#: Grids coarser than a file's dtype on which its values may lie, the coarsest first.
_COARSER = {"F64": ("BF16", "F16", "F32"), "F32": ("BF16", "F16")}
_BLOCK = 1 << 12
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
        Rows × columns, float64.
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
        return float(self.variance.sum())

    @property
    def floor_error(self) -> float:
        """The standard deviation of what it adds."""
        return float(np.sqrt(_SPREAD * np.square(self.variance).sum()))

    def weights(self, twice: bool = False) -> Array:
        """Return 1/ulp² of each entry, relative to the median ulp.

        Parameters
        ----------
        twice
            ΔW was rounded before it was added.
        """
        width = np.sqrt(self.variance / _UNIFORM) if twice else self.high - self.low
        middle = float(np.median(width))
        weights: Array = np.square(middle / np.maximum(width, _NARROWEST * middle))
        return weights

    def holds(self, change: Array) -> Array:
        """Say of each entry of a change whether its sum with the base rounds to what is stored."""
        inside: Array = (change >= self.low) & (change <= self.high)
        return inside


def rounded(W: Array, M: Array, dtype: str) -> Rounded:
    """Return what is known of a change.

    Parameters
    ----------
    W
        The base's matrix, float64.
    M
        The merged one, as it is stored.
    dtype
        The code of the dtype in which it is stored.
    """
    grid = _grid(M, dtype)
    return _of_grid(W, M.astype(DTYPES[grid]), grid)


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
