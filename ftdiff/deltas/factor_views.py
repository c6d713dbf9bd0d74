"""Factors that are arrangements of stored ones; they are small, so that they are read whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array, LazyTensor, numel


@dataclass(frozen=True)
class Picked:
    """Rows of a small tensor in another order; it is read whole.

    Parameters
    ----------
    tensor
        The whole.
    spans
        First row and number of rows, each.
    """

    tensor: LazyTensor
    spans: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, with as many rows as are picked."""
        return sum(count for _, count in self.spans), *self.tensor.shape[1:]

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def storage(self) -> Hashable:
        """None: no run of the file's bytes is this tensor."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        whole = self.tensor.read()
        picked = np.concatenate([whole[first : first + count] for first, count in self.spans])
        return picked[rows]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements of the rows that are picked."""
        yield self.read().reshape(-1)[start:stop]


@dataclass(frozen=True)
class BlockDiagonal:
    """Matrices along a diagonal, zero elsewhere: the left factor of products under one another.

    Parameters
    ----------
    blocks
        Matrices (their further sides are columns) of one dtype; a number stands for that many rows
        of zeros, which take no columns.
    """

    blocks: tuple[LazyTensor | int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of all blocks."""
        rows = sum(b if isinstance(b, int) else b.shape[0] for b in self.blocks)
        return rows, sum(0 if isinstance(b, int) else numel(b.shape[1:]) for b in self.blocks)

    @property
    def dtype(self) -> str:
        """The dtype of all blocks."""
        return next(block.dtype for block in self.blocks if not isinstance(block, int))

    @property
    def storage(self) -> Hashable:
        """None: no run of the file's bytes is the whole matrix."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return these rows; the blocks are read whole."""
        held = [None if isinstance(b, int) else b.read() for b in self.blocks]
        dtype = next(values.dtype for values in held if values is not None)
        whole = np.zeros(self.shape, dtype)
        row = column = 0
        for block, values in zip(self.blocks, held, strict=True):
            if values is None:
                assert isinstance(block, int)
                row += block
                continue
            values = values.reshape(len(values), -1)
            whole[row : row + len(values), column : column + values.shape[1]] = values
            row, column = row + len(values), column + values.shape[1]
        return whole[rows]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements of the whole matrix."""
        yield self.read().reshape(-1)[start:stop]
