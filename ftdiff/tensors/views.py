"""Parts of another tensor, without a copy of the whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors.lazy import DTYPES, Array, LazyTensor, numel


@dataclass(frozen=True)
class FirstRows:
    """The first rows of another tensor: what two vocabularies of different sizes share."""

    tensor: LazyTensor
    rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, with fewer rows."""
        return self.rows, *self.tensor.shape[1:]

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def storage(self) -> Hashable:
        """The tensor's: its rows come first."""
        return self.tensor.storage

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return self.tensor.read(slice(*rows.indices(self.rows)))

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Lend elements of the tensor, which begin where the tensor begins."""
        return self.tensor.window(start, stop)


@dataclass(frozen=True)
class Strided:
    """A tensor whose entries do not lie in order: a transposed, sliced or repeated view.

    `tensor` is what the view spans, in one run; `strides` are in entries.
    """

    tensor: LazyTensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def storage(self) -> Hashable:
        """The run's, and how it is walked."""
        whole = self.tensor.storage
        return None if whole is None else (whole, self.shape, self.strides)

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows, in order."""
        start, stop, step = rows.indices(self.shape[0])
        width = numel(self.shape[1:])
        with self.window(start * width, max(start, stop) * width) as flat:
            return flat.reshape(max(stop - start, 0), *self.shape[1:])[::step].copy()

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend a copy of elements in order; only the rows that they are in are read."""
        width = numel(self.shape[1:])
        if stop <= start or not width:
            yield np.empty(0, DTYPES[self.dtype])
            return
        first, last = start // width, -(-stop // width)
        sides, steps = self.shape[1:], self.strides[1:]
        reach = sum((side - 1) * step for side, step in zip(sides, steps, strict=True))
        begin, end = first * self.strides[0], (last - 1) * self.strides[0] + reach + 1
        with self.tensor.window(begin, end) as run:
            strides = tuple(step * run.itemsize for step in self.strides)
            view = np.lib.stride_tricks.as_strided(run, (last - first, *sides), strides)
            flat = np.ascontiguousarray(view).reshape(-1)
        yield flat[start - first * width : stop - first * width]


def stored_as(tensor: LazyTensor) -> str:
    """Return how the file stores a tensor: its dtype, or the scheme by which it is quantised.

    >>> from ftdiff.tensors import ArrayTensor
    >>> stored_as(ArrayTensor(np.zeros(3, np.float16)))
    'F16'
    """
    whole = tensor.tensor if isinstance(tensor, FirstRows) else tensor
    return str(getattr(whole, "scheme", whole.dtype))


def is_quantised(tensor: LazyTensor) -> bool:
    """Say whether values are lent in another dtype than the file's: dequantised."""
    whole = tensor.tensor if isinstance(tensor, FirstRows) else tensor
    return hasattr(whole, "scheme")
