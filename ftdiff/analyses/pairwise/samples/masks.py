"""Which entries changed at all: how the sparse updates of stored checkpoints overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.line import Line
from ftdiff.deltas.forms import Delta
from ftdiff.tensors import Array


class Masks:
    """Entries that differ from the base, counted for every pair of fine-tunes.

    Only stored weights have a mask: an adapter that was not merged changes every entry that it
    touches, by construction.
    """

    passes = 1

    def __init__(self, line: Line) -> None:
        count = len(line.recipes)
        self._stored = [bool(recipe and recipe.dtype) for recipe in line.recipes]
        self._both = np.zeros((count, count))

    def of_changes(self, deltas: Mapping[int, Delta]) -> bool:
        """Say that there is nothing to be read: these are adapters."""
        return True

    def of_entries(self, D: Array, own: Sequence[int], start: int, passing: int) -> None:
        """Count the entries that two of them changed."""
        changed = np.ascontiguousarray(D != 0, np.float32)
        self._both[np.ix_(own, own)] += kernels.gram(changed)

    def found(self) -> Mapping[str, Array]:
        """Return `both`, n × n: entries that i and j changed; on the diagonal those of one."""
        both = self._both.copy()
        for i, stored in enumerate(self._stored):
            if not stored:
                both[i, :] = both[:, i] = np.nan
        return {"both": both}
