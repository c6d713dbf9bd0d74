"""The same entries of a merged tensor and of all that it may be made of, a window at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import DTYPES, Array, LazyTensor, numel

#: Entries that are worked on at a time.
PART = 1 << 14
#: Entries of a window that is read; bytes of a tensor that are held, so that none is read twice.
WINDOW, _HELD = 1 << 18, 256 << 20
#: Runs that a sample of a tensor is made of.
_RUNS = 16


@dataclass(frozen=True, eq=False)
class Window:
    """A run of entries of all sides.

    Attributes
    ----------
    merged
        M, flat.
    sides
        What M is held against, flat: the base, if there is one, and the parents.
    """

    merged: Array
    sides: tuple[Array, ...]

    def parts(self) -> Iterator[Window]:
        """Cut it into parts that are worked on in a processor's cache."""
        for start in range(0, len(self.merged), PART):
            at = slice(start, start + PART)
            yield Window(self.merged[at], tuple(side[at] for side in self.sides))


class Sides:
    """One tensor of all files, which can be gone through again.

    Parameters
    ----------
    merged, sides
        Tensors of one shape.
    sample
        How many entries are read, in runs all over the tensor; None for all.
    """

    def __init__(
        self, merged: LazyTensor, sides: Sequence[LazyTensor], sample: int | None = None
    ) -> None:
        self._tensors = (merged, *sides)
        size = numel(merged.shape)
        self._runs = _runs(size, sample)
        self.entries = sum(stop - start for start, stop in self._runs)
        width = sum(DTYPES[tensor.dtype].itemsize for tensor in self._tensors)
        self._kept: list[Window] | None = [] if width * self.entries <= _HELD else None
        self._whole = False

    def windows(self) -> Iterator[Window]:
        """Yield every window; what is small is read once and kept."""
        if self._whole and self._kept is not None:
            for window in self._kept:
                yield from window.parts()
            return
        for start, stop in self._runs:
            window = self._read(start, stop)
            if self._kept is not None:
                self._kept.append(window)
            yield from window.parts()
        self._whole = True

    def _read(self, start: int, stop: int) -> Window:
        with ExitStack() as lent:
            merged, *sides = (
                np.array(lent.enter_context(tensor.window(start, stop))) for tensor in self._tensors
            )
        return Window(merged, tuple(sides))


def _runs(size: int, sample: int | None) -> list[tuple[int, int]]:
    """Cut entries into windows, or choose runs all over them.

    >>> _runs(1000, 160)[:2], len(_runs(1000, 160))
    ([(0, 10), (66, 76)], 16)
    """
    if sample is None or sample >= size:
        return [(start, min(start + WINDOW, size)) for start in range(0, size, WINDOW)]
    length = max(1, sample // _RUNS)
    starts = np.linspace(0, size - length, min(_RUNS, sample)).astype(int).tolist()
    return [(start, start + length) for start in starts]
