"""Tensors whose rows or values are stored otherwise than the model has them, put back as read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors.lazy import DTYPES, Array, numel
from ftdiff.tensors.view import View


@dataclass(frozen=True)
class Halved(View):
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

    heads: int

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a copy of elements, in Hugging Face's order; whole heads are read."""
        size = numel(self.shape) // self.heads
        if stop <= start or not size:
            yield np.empty(0, DTYPES[self.dtype])
            return
        first, last = start // size, -(-stop // size)
        with self.tensor.window(first * size, last * size) as lent:
            pairs = lent.reshape(last - first, -1, 2, numel(self.shape[1:])).swapaxes(1, 2)
            flat = np.ascontiguousarray(pairs).reshape(-1)
        yield flat[start - first * size : stop - first * size]


@dataclass(frozen=True)
class Shifted(View):
    """A tensor that is stored with a constant added to each entry."""

    by: float

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a copy of elements, as the model has them."""
        with self.tensor.window(start, stop) as lent:
            yield (lent.astype(np.float64) - self.by).astype(lent.dtype)
