"""Tensors that are arrangements of others: runs of rows, rows under rows, other sides.

Nothing is read or copied before rows are asked for, and then only those rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.tensors.lazy import Array, LazyTensor, numel, read_rows
from ftdiff.tensors.view import View


@dataclass(frozen=True)
class Hollow:
    """A tensor of which only the shape is known."""

    shape: tuple[int, ...]
    dtype: str = ""

    @property
    def storage(self) -> Hashable:
        """None: it is nowhere."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Raise: there are no values."""
        raise BadCall("a tensor of which only the shape is known has no values")

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Raise, as `read` does."""
        raise BadCall("a tensor of which only the shape is known has no values")


@dataclass(frozen=True)
class Rows(View):
    """A run of another tensor's rows: a part of what is stored as one, or what two sizes share.

    Parameters
    ----------
    tensor
        The whole.
    first, count
        Which of its rows.
    """

    first: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, with these rows alone."""
        return self.count, *self.tensor.shape[1:]

    @property
    def storage(self) -> Hashable:
        """The tensor's, and where in it the rows begin; None where the tensor claims nothing."""
        held = self.tensor.storage
        if held is None or self.count == self.tensor.shape[0]:
            return held
        return "rows", held, self.first, self.count

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements of the run."""
        at = self.first * numel(self.tensor.shape[1:])
        with self.tensor.window(at + start, at + stop) as found:
            yield found


@dataclass(frozen=True)
class Stack:
    """Tensors one under the other, as one tensor.

    Parameters
    ----------
    blocks
        At least one, all of one dtype, alike but for the number of their rows.
    """

    blocks: tuple[LazyTensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The blocks' shape, with the rows of all."""
        return sum(block.shape[0] for block in self.blocks), *self.blocks[0].shape[1:]

    @property
    def dtype(self) -> str:
        """The dtype of all blocks."""
        return self.blocks[0].dtype

    @property
    def behind(self) -> LazyTensor:
        """The first tensor that is stored."""
        return self.blocks[0]

    @property
    def storage(self) -> Hashable:
        """Those of all blocks; None where one of them claims nothing."""
        held = tuple(block.storage for block in self.blocks)
        return None if None in held else ("stack", *held)

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        return read_rows(self, rows)

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements: a block's own where they are in one, a copy where they are in several."""
        inside = list(self._inside(start, stop))
        if len(inside) == 1:
            block, first, last = inside[0]
            with block.window(first, last) as found:
                yield found
            return
        pieces = []
        for block, first, last in inside:
            with block.window(first, last) as found:
                pieces.append(found.copy())
        yield np.concatenate(pieces)

    def _inside(self, start: int, stop: int) -> Iterator[tuple[LazyTensor, int, int]]:
        """Yield the blocks that hold elements `start` to `stop`, at least one, and which."""
        ends = self._ends
        index = int(np.searchsorted(ends, start, side="right"))
        index = min(index, len(ends) - 1)
        while True:
            begin = ends[index - 1] if index else 0
            yield self.blocks[index], max(start - begin, 0), min(stop, ends[index]) - begin
            index += 1
            if index == len(ends) or ends[index - 1] >= stop:
                return

    @cached_property
    def _ends(self) -> list[int]:
        return [*accumulate(numel(block.shape) for block in self.blocks)]


@dataclass(frozen=True)
class Reshaped(View):
    """The same elements in the same order, with other sides: a 1×1 convolution as a matrix."""

    sides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sides."""
        return self.sides

    @property
    def storage(self) -> Hashable:
        """The tensor's: the bytes are the same."""
        return self.tensor.storage

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend elements of the tensor."""
        with self.tensor.window(start, stop) as found:
            yield found
