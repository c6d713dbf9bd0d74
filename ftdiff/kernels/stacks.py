"""Products of many float32 rows with many: blocks that stay in a cache, a tile at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftdiff.kernels import driver, tile_products
from ftdiff.kernels.jit import Target, host
from ftdiff.kernels.panels import WIDTH
from ftdiff.kernels.readers import TILE, Reader
from ftdiff.kernels.tile_products import Workspace
from ftdiff.tensors import Array

#: Rows of each side that are multiplied with each other before others are read.
_BLOCK = 80
#: Multiplications below which blocks are not worth the calls.
LEAST = 1 << 23


def stacked_gram(
    X: Sequence[Array], Y: Sequence[Array] | None = None, *, target: Target | None = None
) -> Array:
    """Return X Yᵀ (X Xᵀ if no Y is given) in float64, of matrices one above the other.

    Parameters
    ----------
    X, Y
        float32 matrices of one number of columns, rows contiguous.
    target
        The processor to compile for, this one if not given; no bit depends on it.

    Notes
    -----
    Each entry is summed in eight lanes, which are added in their order; the products beyond the
    last whole eight are added one by one: the bits of `gram`, whatever else is in the stack.

    >>> A, B = np.float32([[1, 2]]), np.float32([[3, 4], [0, 1]])
    >>> stacked_gram([A, B]).tolist()
    [[5.0, 11.0, 2.0], [11.0, 25.0, 4.0], [2.0, 4.0, 1.0]]
    """
    target = target or host()
    left = _Rows(X)
    right = left if Y is None else _Rows(Y)
    out = np.zeros((left.count, right.count))
    space = Workspace(2 * _BLOCK, _BLOCK * _BLOCK)
    read = tile_products.reading(Reader("F32", "value", target.half, target.fused), target)
    for i in range(0, left.count if left.columns else 0, _BLOCK):
        for j in range(i if right is left else 0, right.count, _BLOCK):
            m, s = min(_BLOCK, left.count - i), min(_BLOCK, right.count - j)
            alone = right is left and i == j
            rows = [left.readings(i, m), *([] if alone else [right.readings(j, s)])]
            block = _block(np.concatenate(rows), m, 0 if alone else s, read, left, space, target)
            out[i : i + m, j : j + s] = block
            if right is left:
                out[j : j + s, i : i + m] = block.T
    for x, y in zip(left.beyond.T, right.beyond.T, strict=True):
        out += np.multiply.outer(x, y)
    return out


def _block(
    readings: Array, m: int, s: int, read: int, rows: _Rows, space: Workspace, target: Target
) -> Array:
    """Return the products of m rows with each other, or with the s that follow."""
    index = np.arange(len(readings))
    for column, name in ((3, "tile"), (4, "lost")):
        first, second = space.at(name, 0), space.at(name, 1)
        readings[:, column] = first + index * (second - first)
    readings[:, 0], readings[:, 2] = read, 4 * TILE
    made = tile_products.rectangle(m, s, target) if s else tile_products.triangle(m, target)
    count = -(-rows.columns // TILE)
    tiles = count, rows.columns // TILE, count
    sums = tile_products.run(readings, made, space, tiles, target)
    return np.asarray(sums[0][made.places])


class _Rows:
    """Where the rows of a stack are, and copies of what is left of them after the last tile."""

    def __init__(self, parts: Sequence[Array]) -> None:
        self.count = sum(map(len, parts))
        whole = parts[0].shape[1]
        self.columns = whole - whole % WIDTH
        #: The columns beyond the last whole eight.
        self.beyond = np.concatenate([part[:, self.columns :] for part in parts], dtype=np.float64)
        rest = self.columns % TILE
        self._ends = np.zeros((self.count, TILE if rest else 0), np.float32)
        cut = slice(self.columns - rest, self.columns)
        if rest:
            np.concatenate([part[:, cut] for part in parts], out=self._ends[:, :rest])
        self._parts = parts  # held as long as their addresses are
        self._at = np.concatenate(
            [part.ctypes.data + np.arange(len(part)) * part.strides[0] for part in parts]
        )

    def readings(self, first: int, count: int) -> Array:
        """Return lines of a table of readings, with what is read."""
        found = np.zeros((count, driver.READING), np.int64)
        found[:, 1] = self._at[first : first + count]
        found[:, 5] = (
            self._ends.ctypes.data + np.arange(first, first + count) * (self._ends.strides[0])
        )
        return found
