"""What one pass over a tensor adds up for the fit, and the entries that it keeps as a sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ftdiff.analyses.merges import fit
from ftdiff.analyses.merges.fit import Fit
from ftdiff.analyses.merges.rounding import spacing
from ftdiff.analyses.merges.sides import Sides, Window
from ftdiff.tensors import Array

#: What float32 leaves of a sum, over its largest term.
FLOAT32 = 2.0**-22


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries of all sides, in float64, from the first side on: the base, or the first parent.

    Attributes
    ----------
    W, D, y
        The first side, the changes of the others, and that of the merged one.
    merged
        M, as it is stored.
    ulp
        Its spacing, but no less than the arithmetic of float32 leaves open.
    """

    W: Array
    D: Array
    y: Array
    merged: Array
    ulp: Array

    @property
    def moved(self) -> Array:
        """Which entries any side moves."""
        return np.asarray((self.D != 0).any(axis=0) | (self.y != 0))

    @classmethod
    def of(cls, window: Window, dtype: str) -> tuple[Entries, int]:
        """Take a window's entries that are finite everywhere; return how many are not, too."""
        with np.errstate(all="ignore"):
            M = window.merged.astype(np.float64)
            sides = np.array([side.astype(np.float64) for side in window.sides])
            finite = np.isfinite(M) & np.isfinite(sides).all(axis=0)
        merged = window.merged
        broken = len(finite) - int(finite.sum())
        if broken:
            M, sides, merged = M[finite], sides[:, finite], merged[finite]
        W = sides[0]
        ulp = np.maximum(spacing(M, dtype), FLOAT32 * _power(W))
        return cls(W, sides[1:] - W, M - W, merged, ulp), broken

    def every(self, step: int) -> Entries:
        """Return each entry that is so many after the last."""
        return self.at(slice(None, None, step))

    def at(self, at: Any) -> Entries:
        """Return the entries that an index chooses."""
        return Entries(self.W[at], self.D[:, at], self.y[at], self.merged[at], self.ulp[at])


@dataclass(frozen=True, eq=False)
class Sums:
    """One pass over a tensor.

    Attributes
    ----------
    gram
        Weighted products of the first side, the changes and the merged change.
    plain
        ⟨A, A⟩, ⟨B, B⟩ and ‖A − B‖² of the last two sides.
    entries, moved, nonfinite
        Counts.
    sides
        What was gone through.
    """

    gram: Array
    plain: Array
    entries: int
    moved: int
    nonfinite: int
    sides: Sides

    @cached_property
    def sample(self) -> Entries:
        """Entries from all over the tensor."""
        return Entries.of(self.sides.sample, self.sides.dtypes[0])[0]

    def fit(self) -> Fit:
        """Fit the merged change on the changes alone."""
        return fit.solve(self.gram[1:, 1:], self.moved)

    def free(self) -> Fit:
        """Fit it on the first side too, whose coefficient is the first."""
        return fit.solve(self.gram, self.moved)

    @property
    def angle(self) -> float:
        """The angle between the last two sides, as vectors; it may be tiny."""
        a, b = np.sqrt(self.plain[:2])
        if not a * b:
            return float("nan")
        half = (self.plain[2] - (a - b) ** 2) / (4 * a * b)
        return float(2 * np.arcsin(np.sqrt(min(max(half, 0.0), 1.0))))


def _power(values: Array) -> Array:
    """Return the power of two at or below each size."""
    mantissa, exponent = np.frexp(values)
    return np.where(mantissa == 0, 0.0, np.ldexp(1.0, exponent - 1))
