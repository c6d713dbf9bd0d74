"""Runs of stored changes as probes take them: from their bytes, or as whole rows in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ftdiff.analyses.pairwise.samples import Probe
from ftdiff.kernels import Stored
from ftdiff.tensors import DTYPES, Array

#: Entries of all fine-tunes that are held at a time, as float64.
_HELD = 1 << 20


class Runs:
    """Who is given the runs of one line.

    Parameters
    ----------
    probes
        What takes them.
    own
        Which fine-tunes change the tensor.
    places
        Of each of these the number of the stored tensor that holds it; −1 where it is the base's.
    columns
        Of the tensor as a matrix: entries are given in whole rows.
    """

    def __init__(
        self, probes: Sequence[Probe], own: Sequence[int], places: Sequence[int], columns: int
    ) -> None:
        self._probes, self._own, self._places = probes, own, places
        self._columns = max(1, columns)
        self.passes = max((probe.passes for probe in probes), default=1)

    def take(
        self, base: Stored | None, tensors: Sequence[Stored], start: int, passing: int
    ) -> None:
        """Give a run of all tensors to the probes that have such a reading."""
        waiting = [probe for probe in self._probes if passing < probe.passes]
        held = [tensors[k] if k >= 0 else base for k in self._places]
        if base is not None and not passing:
            waiting = [one for one in waiting if not one.of_stored(base, held, self._own)]
        if not waiting:
            return
        size = max((len(one.entries) for one in (base, *tensors) if one is not None), default=0)
        for first, last in self._pieces(start, start + size):
            D = self._changes(base, tensors, first, last, start)
            for probe in waiting:
                probe.of_entries(D, self._own, first - first % self._columns, passing)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        step = max(1, _HELD // (max(1, len(self._own)) * self._columns)) * self._columns
        while start < stop:
            last = min(start - start % self._columns + step, stop)
            yield start, last
            start = last

    def _changes(
        self, base: Stored | None, tensors: Sequence[Stored], first: int, last: int, start: int
    ) -> Array:
        """Return rows of changes, zero where they are not finite, and outside of the run."""
        before, after = first % self._columns, -last % self._columns
        here, run = slice(before, before + last - first), slice(first - start, last - start)
        D = np.zeros((len(self._own), before + last - first + after))
        W = None if base is None else _wide(base, run)
        for row, k in zip(D, self._places, strict=True):
            if k >= 0:
                with np.errstate(all="ignore"):
                    row[here] = _wide(tensors[k], run)
                    if W is not None and not tensors[k].delta:
                        row[here] -= W
        if not math.isfinite(D.sum()):
            D[~np.isfinite(D)] = 0
        return D


def _wide(stored: Stored, run: slice) -> Array:
    return stored.entries[run].view(DTYPES[stored.dtype]).astype(np.float64)
