"""What a few rows of a stored change say of how it was made: its rank, direction, steps and zeros.

Everything is a number of the sample; what several matrices say together is agreed elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ftdiff.deltas.recipes import Recipe
from ftdiff.metrics.linalg.tail import Tail, most, tail
from ftdiff.metrics.records.slopes import Slope, best, slopes
from ftdiff.metrics.records.stored_rows import FEW, StoredRows, stored_rows
from ftdiff.tensors import Array, LazyTensor

#: The share of a sample's rows that a rank may have: with more, no rows are left to show it.
_SHARE = 0.6
#: So near its floor, times, rounding takes from the tail of a change, and it is looked at closer.
_NEAR = 10.0
#: Half steps are none: a change of this many spacings counts as one, or as two.
_ONE, _TWO = 1.5, 2.5
#: From this share of a row's entries on, it moved as a whole.
_WHOLE = 0.25
#: From this share of runs of four with two zeros on, they are a pattern.
_PATTERN = 0.95
#: Up to so many distinct values to each of the base's, entries lie on few levels: of rows that are
#: pruned and trained on it is .8 at least.
_FEW_LEVELS = 0.7


@dataclass(frozen=True, eq=False)
class Structure:
    """One matrix of a stored change.

    Attributes
    ----------
    rows
        What was read of it; None where it is no stored pair.
    recipe, base, index
        The change, and where the matrix is in it.
    """

    rows: StoredRows | None
    recipe: Recipe
    base: LazyTensor | None
    index: int = 0

    @cached_property
    def moved(self) -> bool:
        """Whether any entry of the sample did."""
        return self.rows is not None and bool(self.rows.change.any())

    @cached_property
    def tail(self) -> Tail | None:
        """What the sample's singular values say of the rank; None where nothing moved."""
        if self.rows is None or not self.moved:
            return None
        found = tail(self.rows.stored, uneven=False)
        near = self.is_low(found.rank) and found.squares[0] < _NEAR * found.floor
        return tail(self.rows.stored) if near and not found.blurred else found

    @property
    def rank(self) -> int | None:
        """The rank where it is low and the change is not blurred, else None."""
        found = self.tail
        low = found is not None and self.is_low(found.rank)
        return found.rank if low and found is not None and not found.blurred else None

    def is_low(self, rank: int) -> bool:
        """Say whether the sample is large enough to show such a rank."""
        if self.rows is None or not rank:
            return False
        shape = self.rows.W.shape
        limit = most(self.rows.shape) if self.rows.whole else _SHARE * min(shape)
        return rank <= min(limit, most(self.rows.shape))

    @cached_property
    def lead(self) -> tuple[float, float]:
        """σ₁² over Σσ², and over σ₂²; 0 where nothing moved."""
        if self.rows is None or not self.moved:
            return 0.0, 0.0
        D = self.rows.change
        short = D if D.shape[0] <= D.shape[1] else D.T
        squares = np.linalg.eigvalsh(short @ short.T)[::-1]
        second = max(float(squares[1]), 1e-12 * float(squares[0]))
        return float(squares[0] / np.abs(squares).sum()), float(squares[0]) / second

    @cached_property
    def relative(self) -> float:
        """‖ΔW‖/‖W‖ of the sample."""
        if self.rows is None:
            return 0.0
        norm = float(np.linalg.norm(self.rows.W))
        return float(np.linalg.norm(self.rows.change)) / norm if norm else 0.0

    @cached_property
    def slopes(self) -> tuple[Slope, ...]:
        """ΔW on Q(W) − W, for each rounding that is not larger than ΔW."""
        if self.rows is None:
            return ()
        return slopes(self.recipe, self.base, self.rows.shape, self.index, self.relative)

    @property
    def slope(self) -> Slope | None:
        """The slope on the rounding that explains most of ΔW."""
        return best(self.slopes)

    @cached_property
    def steps(self) -> tuple[int, int, int]:
        """How many entries moved, of these by one spacing of the file's grid, and by two at most.

        On float32's grid no step is counted.
        """
        if self.rows is None or not self.moved:
            return 0, 0, 0
        D = np.abs(self.rows.change)
        moved = D > 0
        if self.rows.stored.grid not in ("BF16", "F16"):
            return int(moved.sum()), 0, 0
        spacing = self.rows.stored.high - self.rows.stored.low
        steps = D[moved] / spacing[moved]
        return int(moved.sum()), int((steps < _ONE).sum()), int((steps < _TWO).sum())

    @cached_property
    def zeros(self) -> tuple[int, int, int]:
        """New exact zeros, runs of four in a row that have two zeros, and all runs of four.

        The zero level of a grid of few bits is none, unless zeros stand two in four.
        """
        if self.rows is None or not self.moved:
            return 0, 0, 0
        zero = self.rows.M.astype(np.float32) == 0
        new = int((zero & (self.rows.W != 0)).sum())
        width = zero.shape[1] // 4 * 4
        fours = zero[:, :width].reshape(-1, 4).sum(axis=1) if new and width else np.zeros(0)
        two = int((fours == 2).sum())
        if new and two < _PATTERN * len(fours) and self._on_few_levels(zero):
            return 0, 0, 0
        return new, two, len(fours)

    def _on_few_levels(self, zero: Array) -> bool:
        """Say whether the entries that are not zero share values, as the base's there do not."""
        assert self.rows is not None
        pairs = zip(self.rows.M.astype(np.float64), self.rows.W, ~zero, strict=True)
        counts = [
            (len(np.unique(M[kept])), len(np.unique(W[kept]))) for M, W, kept in pairs if kept.any()
        ]
        tuned, base = np.sum(counts, axis=0) if counts else (1, 1)
        return bool(tuned <= _FEW_LEVELS * base)

    @cached_property
    def rows_apart(self) -> tuple[int, int]:
        """How many rows did not move at all, and how many did in a good part of their entries."""
        if self.rows is None:
            return 0, 0
        share = (self.rows.change != 0).mean(axis=1)
        return int((share == 0).sum()), int((share >= _WHOLE).sum())

    @cached_property
    def columns_apart(self) -> tuple[int, int]:
        """The same of columns."""
        if self.rows is None:
            return 0, 0
        share = (self.rows.change != 0).mean(axis=0)
        return int((share == 0).sum()), int((share >= _WHOLE).sum())

    def note(self) -> dict[str, Any]:
        """Return how much of the matrix was read."""
        if self.rows is None:
            return {}
        return {"sampled_rows": len(self.rows.W), "sampled_columns": self.rows.W.shape[1]}


def structure(
    recipe: Recipe,
    base: LazyTensor | None,
    shape: tuple[int, int],
    index: int = 0,
    *,
    most: int = FEW,
) -> Structure:
    """Read a few rows of one matrix of a change.

    Parameters
    ----------
    recipe, base
        The change, and what it changes.
    shape, index
        Rows × columns of the matrix, and which one it is where a tensor holds several.
    most
        Rows at most.
    """
    return Structure(stored_rows(recipe, base, shape, index, most=most), recipe, base, index)
