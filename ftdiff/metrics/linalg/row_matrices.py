"""A matrix that is read by runs of rows, so that none has to be held whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ftdiff.deltas.recipes import Recipe
from ftdiff.tensors import Array, LazyTensor

#: Bytes of float64 that a run of rows takes while it is worked on.
RUN = 32 << 20
#: The same, of what is read at a time for a larger block; and how much reading takes, in these.
READ, _TAKES = 8 << 20, 3


class Matrix(Protocol):
    """Rows × columns, read by rows; float64."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns."""

    def read(self, start: int, stop: int) -> Array:
        """Return these rows."""


@dataclass(frozen=True)
class Changed:
    """ΔW, or one of several matrices in it: `index` counts them."""

    recipe: Recipe
    base: LazyTensor | None
    shape: tuple[int, int]
    index: int = 0

    def read(self, start: int, stop: int) -> Array:
        """Return these rows of ΔW."""
        rows, columns = self.shape
        first = self.index * rows * columns
        flat = self.recipe.entries(self.base)(first + start * columns, first + stop * columns)
        return flat.reshape(stop - start, columns)


@dataclass(frozen=True)
class Stored:
    """A stored tensor, or one of several matrices in it."""

    tensor: LazyTensor
    shape: tuple[int, int]
    index: int = 0

    def read(self, start: int, stop: int) -> Array:
        """Return these rows."""
        rows, columns = self.shape
        first = self.index * rows * columns
        with self.tensor.window(first + start * columns, first + stop * columns) as flat:
            return flat.astype(np.float64).reshape(stop - start, columns)


@dataclass(frozen=True, eq=False)
class Held:
    """A matrix in memory."""

    array: Array

    @property
    def shape(self) -> tuple[int, int]:
        """The array's shape."""
        rows, columns = self.array.shape
        return rows, columns

    def read(self, start: int, stop: int) -> Array:
        """Return these rows."""
        return self.array[start:stop].astype(np.float64)


@dataclass(frozen=True)
class Sum:
    """One matrix added to another: the tuned weights, from base and change."""

    left: Matrix
    right: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of both."""
        return self.left.shape

    def read(self, start: int, stop: int) -> Array:
        """Return these rows."""
        rows: Array = self.left.read(start, stop) + self.right.read(start, stop)
        return rows


def block(matrix: Matrix, start: int, stop: int) -> Array:
    """Return many rows, read some at a time: what reading takes besides is of those alone."""
    columns = matrix.shape[1]
    step = max(1, READ // (8 * max(1, columns)))
    if stop - start <= step:
        return matrix.read(start, stop)
    rows = np.empty((stop - start, columns))
    for first in range(start, stop, step):
        last = min(first + step, stop)
        rows[first - start : last - start] = matrix.read(first, last)
    return rows


def reading(rows: int, columns: int, size: int) -> int:
    """Return what `block` holds of a matrix at most, in blocks of so many bytes."""
    return min(size, 8 * rows * columns) + _TAKES * min(READ, 8 * rows * columns)


def runs(matrix: Matrix, size: int = RUN) -> Iterator[tuple[int, int]]:
    """Yield the first and last row of runs of about `size` bytes of float64."""
    rows, columns = matrix.shape
    step = max(1, size // (8 * max(1, columns)))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)
