"""Rows of a tensor in an order of our own: what two vocabularies share under other numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import DTYPES, Array, LazyTensor, View, numel


@dataclass(frozen=True)
class GatheredRows(View):
    """Some rows of another tensor, one after the other.

    Parameters
    ----------
    tensor
        The whole.
    order
        The rows' numbers, as the bytes of little-endian 64-bit integers.
    """

    order: bytes

    @property
    def numbers(self) -> Array:
        """The number that each row has in the whole."""
        return np.frombuffer(self.order, "<i8")

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, with these rows."""
        return len(self.order) // 8, *self.tensor.shape[1:]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a copy of elements, gathered from runs of rows that lie together."""
        width = numel(self.shape[1:])
        if stop <= start or not width:
            yield np.empty(0, DTYPES[self.dtype])
            return
        first, last = start // width, -(-stop // width)
        numbers = self.numbers[first:last]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        held = np.empty(len(numbers) * width, DTYPES[self.dtype])
        for run in np.split(np.arange(len(numbers)), breaks):
            row, count = int(numbers[run[0]]), len(run)
            with self.tensor.window(row * width, (row + count) * width) as flat:
                held[run[0] * width : (run[0] + count) * width] = flat
        yield held[start - first * width : stop - first * width]


def gathered(tensor: LazyTensor, numbers: Array) -> LazyTensor:
    """Return these rows of a tensor; the tensor itself where they are all, in its order."""
    if len(numbers) == tensor.shape[0] and bool((numbers == np.arange(len(numbers))).all()):
        return tensor
    return GatheredRows(tensor, np.ascontiguousarray(numbers, "<i8").tobytes())
