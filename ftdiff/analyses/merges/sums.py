"""What one pass over a tensor adds up for the fit, and the entries that it keeps as a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.merges import fit
from ftdiff.analyses.merges.fit import Fit
from ftdiff.analyses.merges.rounding import spacing
from ftdiff.analyses.merges.sides import Sides, Window
from ftdiff.tensors import Array

#: Entries that are kept of a tensor, from end to end.
_SAMPLE = 1 << 14
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
        ulp = np.maximum(spacing(M, dtype), FLOAT32 * np.abs(W))
        return cls(W, sides[1:] - W, M - W, merged, ulp), broken

    def every(self, step: int) -> Entries:
        """Return each entry that is so many after the last."""
        at = slice(None, None, step)
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
    sample
        Entries from end to end.
    """

    gram: Array
    plain: Array
    entries: int
    moved: int
    nonfinite: int
    sample: Entries

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


def add_up(sides: Sides, dtype: str) -> Sums:
    """Go through a tensor once."""
    step = -(-sides.entries // _SAMPLE)
    gram: Array | float = 0.0
    plain = np.zeros(3)
    moved = nonfinite = count = 0
    kept = []
    for window in sides.windows():
        entries, broken = Entries.of(window, dtype)
        rows = np.vstack([entries.W, entries.D])
        gram = gram + fit.weighted(rows, entries.y, entries.ulp)
        if len(entries.D):
            A, B = entries.W + (entries.D[-2] if len(entries.D) > 1 else 0.0), entries.D[-1]
            B = entries.W + B
            plain += [A @ A, B @ B, (A - B) @ (A - B)]
        moved += int(entries.moved.sum())
        nonfinite += broken
        count += len(entries.y)
        kept.append(entries.every(step))
    sample = Entries(
        *(np.concatenate([getattr(one, name) for one in kept], axis=-1)
          for name in ("W", "D", "y", "merged", "ulp"))
    )  # fmt: skip
    return Sums(np.asarray(gram), plain, count, moved, nonfinite, sample)
