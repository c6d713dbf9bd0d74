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
    def behind(self) -> LazyTensor:
        """The tensor that is stored."""
        return self.tensor

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


@dataclass(frozen=True)
class Piece:
    """A block of a tensor that is stored by itself, and where it lies in the whole."""

    tensor: LazyTensor
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class Pieces:
    """A tensor in blocks that cover it: what each of several machines saved of it.

    `pieces` are sorted by their offsets, do not overlap, and leave nothing out.
    """

    shape: tuple[int, ...]
    dtype: str
    pieces: tuple[Piece, ...]

    @property
    def storage(self) -> Hashable:
        """The pieces' storages and places."""
        held = tuple((piece.tensor.storage, piece.offsets) for piece in self.pieces)
        return None if any(one is None for one, _ in held) else held

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        start, stop, step = rows.indices(self.shape[0])
        whole = np.empty((max(stop - start, 0), *self.shape[1:]), DTYPES[self.dtype])
        for piece in self.pieces:
            begin, end = piece.offsets[0], piece.offsets[0] + piece.tensor.shape[0]
            first, last = max(start, begin), min(stop, end)
            if first < last:
                inside = zip(piece.offsets[1:], piece.tensor.shape[1:], strict=True)
                place = tuple(slice(at, at + side) for at, side in inside)
                part = piece.tensor.read(slice(first - begin, last - begin))
                whole[(slice(first - start, last - start), *place)] = part
        return whole[::step]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements: a piece's own where it has all of them in order, else a copy."""
        width = numel(self.shape[1:])
        for piece in self.pieces:
            begin = piece.offsets[0] * width
            inside = begin <= start <= stop <= begin + numel(piece.tensor.shape)
            if inside and piece.tensor.shape[1:] == self.shape[1:]:
                with piece.tensor.window(start - begin, stop - begin) as lent:
                    yield lent
                return
        if stop <= start or not width:
            yield np.empty(0, DTYPES[self.dtype])
            return
        first, last = start // width, -(-stop // width)
        flat = self.read(slice(first, last)).reshape(-1)
        yield flat[start - first * width : stop - first * width]


def stored_as(tensor: LazyTensor) -> str:
    """Return how the file stores a tensor: its dtype, or the scheme by which it is quantised.

    >>> from ftdiff.tensors import ArrayTensor
    >>> stored_as(ArrayTensor(np.zeros(3, np.float16)))
    'F16'
    """
    whole = _behind(tensor)
    return str(getattr(whole, "scheme", whole.dtype))


def is_quantised(tensor: LazyTensor) -> bool:
    """Say whether values are lent in another dtype than the file's: dequantised."""
    return hasattr(_behind(tensor), "scheme")


def _behind(tensor: LazyTensor) -> LazyTensor:
    """Return the stored tensor that a view shows."""
    while (held := getattr(tensor, "behind", None)) is not None:
        tensor = held
    return tensor
