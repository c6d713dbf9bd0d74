"""Tensors whose rows or values are stored otherwise than the model has them, put back as read."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors.lazy import DTYPES, Array, LazyTensor, numel


@dataclass(frozen=True)
class Halved:
    """A tensor whose rows are, in every head, pairs of halves: (0, h), (1, h + 1), ….

    Parameters
    ----------
    tensor
        Heads · d rows, interleaved.
    heads
        How many heads.

    Notes
    -----
    Rotary embeddings turn pairs of rows. Meta's layout, which torchtune and llama.cpp keep, has
    the two of a pair beside each other; Hugging Face's has them half a head apart.
    """

    tensor: LazyTensor
    heads: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def behind(self) -> LazyTensor:
        """The tensor that is stored."""
        return self.tensor

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed: the bytes are in another order."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows, in Hugging Face's order; whole heads are read."""
        start, stop, step = rows.indices(self.shape[0])
        size = self.shape[0] // self.heads
        first, last = start // size, -(-max(start, stop) // size)
        held = self.tensor.read(slice(first * size, last * size))
        pairs = held.reshape(last - first, -1, 2, *self.shape[1:]).swapaxes(1, 2)
        heads = np.ascontiguousarray(pairs).reshape(held.shape)
        return heads[start - first * size : max(start, stop) - first * size : step]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a flat copy."""
        width = numel(self.shape[1:])
        if stop <= start or not width:
            yield np.empty(0, DTYPES[self.dtype])
            return
        first = start // width
        flat = self.read(slice(first, -(-stop // width))).reshape(-1)
        yield flat[start - first * width : stop - first * width]


@dataclass(frozen=True)
class Shifted:
    """A tensor that is stored with a constant added to each entry."""

    tensor: LazyTensor
    by: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def behind(self) -> LazyTensor:
        """The tensor that is stored."""
        return self.tensor

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed: the values are others."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows, as the model has them."""
        held = self.tensor.read(rows)
        return (held.astype(np.float64) - self.by).astype(held.dtype)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a flat copy."""
        with self.tensor.window(start, stop) as lent:
            yield (lent.astype(np.float64) - self.by).astype(lent.dtype)
