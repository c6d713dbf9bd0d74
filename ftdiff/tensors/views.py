"""What is not one run of bytes: entries that are walked in strides, blocks stored apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors.lazy import DTYPES, Array, LazyTensor, numel
from ftdiff.tensors.view import View


@dataclass(frozen=True)
class Strided(View):
    """A tensor whose entries do not lie in order: a transposed, sliced or repeated view.

    `tensor` is what the view spans, in one run; `strides` are in entries.
    """

    sides: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sides."""
        return self.sides

    @property
    def storage(self) -> Hashable:
        """The run's, and how it is walked."""
        whole = self.tensor.storage
        return None if whole is None else (whole, self.shape, self.strides)

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
