"""The same entries of a merged tensor and of all that it may be made of, a window at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftdiff.deltas.recipes.held import is_far
from ftdiff.tensors import Array, LazyTensor, numel

#: Entries that are worked on at a time, where arrays of float64 are made of them.
PART = 1 << 14
#: Entries of a window that is read.
WINDOW = 1 << 20
#: Entries of a tensor's sample, and the runs that it lies in; and of a glance at it.
SAMPLE, _SAMPLE_RUNS = 1 << 14, 16
_GLANCE, _GLANCE_RUNS = 1 << 11, 4
#: Runs that a sample of a tensor is made of: of a far file each is a request.
_RUNS = 4


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

    def every(self, step: int) -> Window:
        """Return a copy of each entry that is so many after the last."""
        return Window(self.merged[::step].copy(), tuple(side[::step].copy() for side in self.sides))

    def copy(self) -> Window:
        """Return one that may be kept."""
        return Window(self.merged.copy(), tuple(side.copy() for side in self.sides))


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
        self._size = numel(merged.shape)
        self._runs = sampled(self._size, sample)
        self.entries = sum(stop - start for start, stop in self._runs)
        few = sample is not None and sample < self._size
        self._kept: list[Window] | None = [] if few else None
        self._whole = False

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those of the merged tensor and of the sides."""
        return tuple(tensor.dtype for tensor in self._tensors)

    @property
    def far(self) -> bool:
        """Whether all of a file of another machine is read: no entry is to be read twice."""
        return self._kept is None and any(map(is_far, self._tensors))

    def windows(self) -> Iterator[Window]:
        """Lend every window, not to be kept; a sample is read once and kept."""
        if self._kept is None:
            for run in self._runs:
                with self._lent(*run) as window:
                    yield window
            return
        if not self._whole:
            for run in self._runs[len(self._kept) :]:
                with self._lent(*run) as window:
                    self._kept.append(window.copy())
            self._whole = True
        yield from self._kept

    def parts(self) -> Iterator[Window]:
        """Lend every part of every window."""
        for window in self.windows():
            yield from window.parts()

    @cached_property
    def sample(self) -> Window:
        """Entries from all over what is read, in runs."""
        return self._some(SAMPLE, _SAMPLE_RUNS)

    @cached_property
    def glance(self) -> Window:
        """Fewer of them."""
        return self._some(_GLANCE, _GLANCE_RUNS)

    def _some(self, entries: int, runs: int) -> Window:
        if self._kept is not None:
            return joined([*self.windows()])
        found = []
        for run in _spread(self._size, entries, runs):
            with self._lent(*run) as window:
                found.append(window.copy())
        return joined(found)

    def _lent(self, start: int, stop: int) -> _Lent:
        return _Lent(self._tensors, start, stop)


class _Lent(ExitStack):
    """A window of all tensors, as long as the block lasts."""

    def __init__(self, tensors: Sequence[LazyTensor], start: int, stop: int) -> None:
        super().__init__()
        self._at = tensors, start, stop

    def __enter__(self) -> Window:  # type: ignore[override]
        tensors, start, stop = self._at
        try:
            merged, *sides = (self.enter_context(one.window(start, stop)) for one in tensors)
        except BaseException:
            self.close()
            raise
        return Window(merged, tuple(sides))


def joined(windows: Sequence[Window]) -> Window:
    """Return one window of the entries of several."""
    merged = np.concatenate([window.merged for window in windows])
    sides = zip(*(window.sides for window in windows), strict=True)
    return Window(merged, tuple(np.concatenate(side) for side in sides))


def sampled(size: int, sample: int | None) -> list[tuple[int, int]]:
    """Cut entries into windows, or choose runs all over them.

    >>> sampled(1000, 160)
    [(0, 40), (320, 360), (640, 680), (960, 1000)]
    """
    if sample is None or sample >= size:
        return [(start, min(start + WINDOW, size)) for start in range(0, size, WINDOW)]
    return _spread(size, sample, _RUNS)


def _spread(size: int, entries: int, runs: int) -> list[tuple[int, int]]:
    """Return runs of as many entries from one end to the other."""
    if entries >= size:
        return [(0, size)]
    count = min(runs, entries)
    length = entries // count
    starts = np.linspace(0, size - length, count).astype(int).tolist()
    return [(start, start + length) for start in starts]
