"""Factors that are stored folded: blocks of a diagonal, and columns that groups of inputs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array, LazyTensor


@dataclass(frozen=True)
class _Unfolded(ABC):
    """What every unfolded factor answers; a factor is small, so that it is read whole."""

    tensor: LazyTensor

    @property
    def dtype(self) -> str:
        """The stored dtype."""
        return self.tensor.dtype

    @property
    def storage(self) -> Hashable:
        """None: no run of the file's bytes is the unfolded factor."""
        return None

    @abstractmethod
    def _whole(self) -> Array:
        """Return the unfolded factor."""

    def read(self, rows: slice = slice(None)) -> Array:
        """Return these rows, unfolded."""
        return np.array(self._whole()[rows])

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements of the unfolded factor."""
        yield self._whole().reshape(-1)[start:stop]


@dataclass(frozen=True)
class BlockDiagonal(_Unfolded):
    """A block-diagonal factor whose blocks are stored one above the other.

    Parameters
    ----------
    tensor
        rows × (columns / blocks).
    blocks
        How many blocks the rows are cut into.
    """

    blocks: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows × columns."""
        rows, *rest = self.tensor.shape
        return (rows, rest[0] * self.blocks) if len(rest) == 1 and rows % self.blocks == 0 else ()

    def _whole(self) -> Array:
        stored = self.tensor.read()
        rows, columns = stored.shape[0] // self.blocks, stored.shape[1]
        whole = np.zeros(self.shape, stored.dtype)
        for block in range(self.blocks):
            across = slice(block * columns, (block + 1) * columns)
            down = slice(block * rows, (block + 1) * rows)
            whole[down, across] = stored[down]
        return whole


@dataclass(frozen=True)
class Pooled(_Unfolded):
    """A factor of which every column stands for a group of neighbouring inputs.

    Parameters
    ----------
    tensor
        rows × groups.
    size
        Inputs to a group.
    """

    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows × inputs."""
        rows, *rest = self.tensor.shape
        return (rows, rest[0] * self.size) if len(rest) == 1 else ()

    def _whole(self) -> Array:
        return np.repeat(self.tensor.read(), self.size, axis=1)
