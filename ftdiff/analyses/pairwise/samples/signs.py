"""Whose largest changes pull an entry in opposite directions, and what a TIES merge would keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.line import Line
from ftdiff.deltas.forms import Delta
from ftdiff.kernels import Stored
from ftdiff.tensors import Array, numel

#: The share of a tensor's entries that TIES keeps of each fine-tune, the largest ones.
DENSITY = 0.2
# Magnitudes are told apart to 16 bits of float32: to 1 part in 256.
_DROPPED_BITS, _BINS = 15, 1 << 16


class Signs:
    """Signs of the largest changes (Yadav et al., TIES-Merging, 2306.01708).

    The first reading counts magnitudes, so that the second knows which entries are among the
    largest fifth of the tensor: at least that many, and where many are equal more.
    """

    passes = 2

    def __init__(self, line: Line) -> None:
        count = len(line.recipes)
        self._size = numel(line.shape)
        self._magnitudes = np.zeros((count, _BINS), np.int64)
        self._least: Array | None = None
        self._both = np.zeros((count, count))
        self._alike = np.zeros((count, count))
        self._kept_sq, self._elected_sq = np.zeros(count), np.zeros(count)
        self._merged_inner, self._merged_sq = np.zeros(count), 0.0
        self._several, self._opposed = 0, 0

    def of_changes(self, deltas: Mapping[int, Delta]) -> bool:
        """Say that the entries are needed."""
        return False

    def of_stored(self, base: Stored, tuned: Sequence[Stored | None], own: Sequence[int]) -> bool:
        """Say that the entries are needed."""
        return False

    def of_entries(self, D: Array, own: Sequence[int], start: int, passing: int) -> None:
        """Count magnitudes, then signs."""
        if passing == 0:
            for row, i in zip(D, own, strict=True):
                self._magnitudes[i] += np.bincount(_bins(row), minlength=_BINS)
        else:
            self._add(D, own)

    def _add(self, D: Array, own: Sequence[int]) -> None:
        if self._least is None:
            self._least = self._thresholds()
        bins = np.stack([_bins(row) for row in D]) if len(D) else np.zeros(D.shape, np.int64)
        kept = (bins >= self._least[[*own]][:, None]) & (D != 0)
        signs = np.where(kept, np.sign(D), 0)
        here = np.ix_(own, own)
        self._both[here] += kernels.gram(np.ascontiguousarray(kept, np.float32))
        self._alike[here] += kernels.gram(np.ascontiguousarray(signs, np.float32))
        largest = np.where(kept, D, 0)
        elected = np.sign(largest.sum(axis=0))
        agreeing = kept & (signs == elected)
        self._kept_sq[[*own]] += np.square(largest).sum(axis=1)
        self._elected_sq[[*own]] += np.square(np.where(agreeing, D, 0)).sum(axis=1)
        number = np.maximum(agreeing.sum(axis=0), 1)
        merged = np.where(agreeing, D, 0).sum(axis=0) / number
        self._merged_sq += float(np.square(merged).sum())
        self._merged_inner[[*own]] += (D * merged).sum(axis=1)
        several = kept.sum(axis=0) >= 2
        self._several += int(several.sum())
        same = np.abs(signs.sum(axis=0)) == kept.sum(axis=0)
        self._opposed += int((several & ~same).sum())

    def _thresholds(self) -> Array:
        """Return the least bin that is kept of each fine-tune."""
        above = self._magnitudes[:, ::-1].cumsum(axis=1)
        enough = above >= DENSITY * self._size
        return np.asarray(_BINS - 1 - enough.argmax(axis=1))

    def found(self) -> Mapping[str, Array]:
        """Return what was summed.

        kept_both, opposed
            n × n: entries that are among the largest of i and j; those of them with other signs.
        kept_sq, elected_sq
            n: ‖ΔW‖² of the largest entries, and of those whose sign is the elected one.
        merged_sq, merged_inner
            1 and n: ‖M‖² and ⟨M, ΔWᵢ⟩, M the mean, entry by entry, of those that agree with the
            elected sign.
        several, disagreeing
            1: entries that two or more keep, and those of them on which they disagree.
        """
        return {
            "kept_both": self._both,
            "opposed": (self._both - self._alike) / 2,
            "kept_sq": self._kept_sq,
            "elected_sq": self._elected_sq,
            "merged_sq": np.array([self._merged_sq]),
            "merged_inner": self._merged_inner,
            "several": np.array([float(self._several)]),
            "disagreeing": np.array([float(self._opposed)]),
        }


def _bins(values: Array) -> Array:
    """Return magnitudes as the leading bits of their float32."""
    bits = np.abs(values).astype(np.float32).view(np.uint32)
    return (bits >> _DROPPED_BITS).astype(np.int64)
