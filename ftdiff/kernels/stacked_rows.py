"""Inner products of many stored rows with each other in float32, at twice float64's rate."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.kernels import driver, tile_products
from ftdiff.kernels.changes import CHANGED
from ftdiff.kernels.fused import checked
from ftdiff.kernels.jit import Target, host
from ftdiff.kernels.readers import LONG, Reader
from ftdiff.kernels.tile_products import Workspace
from ftdiff.tensors import Array

#: Rows of each side that are multiplied with each other before others are read.
_BLOCK = 80


def row_products(
    X: Array, Y: Array | None = None, dtype: str = "F32", *, target: Target | None = None
) -> Array:
    """Return X Yᵀ (X Xᵀ if no Y is given) in float64, of chains in float32.

    Parameters
    ----------
    X, Y
        Matrices of one number of columns, as stored; contiguous.
    dtype
        What their bits mean: a safetensors code of `CHANGED`.
    target
        The processor to compile for, this one if not given; no bit depends on it.

    Raises
    ------
    BadCall
        Shapes or dtypes do not fit.

    Notes
    -----
    Each entry is summed in sixteen chains of 32 fused multiply-adds, which are then added in
    float64: within about 1e-9 of the product of the rows' norms, the same bits on any machine and
    whatever else is in the stack. What float32 does not hold is infinite, or lost: rows that are
    finite and of which the square of the norm is from 2⁻¹⁰⁴ up to where it is finite lose no more.

    >>> row_products(np.float32([[1, 2], [3, 4]])).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """
    target = target or host()
    other = X if Y is None else Y
    if dtype not in CHANGED or X.ndim != 2 or other.ndim != 2 or X.shape[1] != other.shape[1]:
        raise BadCall(f"row_products: {dtype} {X.shape} and {other.shape} do not fit")
    for matrix in (X, other):
        checked(matrix.reshape(-1), dtype, "row_products")
    left = _Rows(X)
    right = left if Y is None else _Rows(Y)
    out = np.empty((len(X), len(other)))
    space = Workspace(2 * _BLOCK, _BLOCK * _BLOCK)
    read = tile_products.reading(Reader(dtype, "row", target.half, target.fused), target)
    count = -(-X.shape[1] // LONG)
    tiles = count, X.shape[1] // LONG, count
    if not count:
        out[...] = 0
        return out
    for i in range(0, len(X), _BLOCK):
        m = min(_BLOCK, len(X) - i)
        for j in range(i if Y is None else 0, len(other), _BLOCK):
            alone, s = Y is None and i == j, min(_BLOCK, len(other) - j)
            readings = _readings(m if alone else m + s)
            readings[:, 0] = read
            readings[:, (3, 4)] += space.at("tile", 0), space.at("lost", 0)
            left.place(readings[:m], i)
            if not alone:
                right.place(readings[m:], j)
            sizes = (m,) if alone else (m, s)
            make = tile_products.triangle if alone else tile_products.rectangle
            made = make(*sizes, target, single=True)
            sums = tile_products.run(readings, made, space, tiles, target)
            block = sums[0].take(made.places)
            out[i : i + m, j : j + s] = block
            if Y is None and not alone:
                out[j : j + s, i : i + m] = block.T
    return out


def _readings(count: int) -> Array:
    """Return lines of a table of readings: the places that they are written to, from the first."""
    return _counted(count).copy()


@lru_cache(maxsize=8)
def _counted(count: int) -> Array:
    space = Workspace(2, 0)
    found = np.zeros((count, driver.READING), np.int64)
    for column, name in ((3, "tile"), (4, "lost")):
        found[:, column] = np.arange(count) * (space.at(name, 1) - space.at(name, 0))
    return found


class _Rows:
    """Where the rows of a matrix are, and what is left of them after the last whole tile."""

    def __init__(self, matrix: Array) -> None:
        self._matrix = matrix
        rest = matrix.shape[1] % LONG
        self._ends = np.zeros((len(matrix), LONG if rest else 0), matrix.dtype)
        if rest:
            self._ends[:, :rest] = matrix[:, -rest:]
        self._at = [
            part.ctypes.data + np.arange(len(part) + 1) * part.strides[0]
            for part in (self._matrix, self._ends)
        ]

    def place(self, readings: Array, first: int) -> None:
        """Write into lines of a table of readings what is read: rows from the first on."""
        stop = first + len(readings)
        readings[:, 1], readings[:, 5] = (at[first:stop] for at in self._at)
        readings[:, 2] = LONG * self._matrix.itemsize
