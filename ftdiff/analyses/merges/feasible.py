"""Search for coefficients for which every entry rounds right, or show that there are none.

Each entry says between which two values the merged change lies: a linear programme over the entries
that bind, to which those are added that its answer does not obey, until none is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ftdiff.analyses.merges.fit import Fit
from ftdiff.analyses.merges.intervals import Interval
from ftdiff.analyses.merges.rounding import bounds
from ftdiff.analyses.merges.sides import PART, Sides
from ftdiff.analyses.merges.sums import FLOAT32, Entries
from ftdiff.tensors import Array

#: Entries that are added each time the tensor is gone through, and how often it is.
_ADDED, _TURNS = 1024, 12
#: How many standard errors from the fit the coefficients may lie.
_ROOM = 50.0


@dataclass(frozen=True)
class Feasible:
    """Coefficients of the changes for which every entry rounds right.

    Attributes
    ----------
    coefficients
        In the middle of all such.
    intervals
        Of each, how far it may go, as the others follow.
    """

    coefficients: tuple[float, ...]
    intervals: tuple[Interval, ...]


@dataclass(eq=False)
class _Programme:
    """What binds so far: rows · z ≤ limits, z the distance from the fit in standard errors."""

    fit: Fit
    each: int
    rows: list[Array] = field(default_factory=list)
    limits: list[Array] = field(default_factory=list)
    open: bool = True

    def add(self, D: Array, ends: tuple[Array, Array], z: Array) -> bool:
        """Add the entries that z does not obey, and those that it hardly does; say if any."""
        A = (self.fit.errors[:, None] * D).T
        start = self.fit.coefficients @ D
        size = np.linalg.norm(A, axis=1)
        on = size > 0
        if ((start < ends[0]) | (start > ends[1]))[~on].any():
            self.open = False
        A, start, size = A[on], start[on], size[on]
        room = np.minimum(start + A @ z - ends[0][on], ends[1][on] - start - A @ z) / size
        wrong = bool((room < 0).any())
        least = np.argsort(room, kind="stable")[: self.each]
        unit = A[least] / size[least, None]
        self.rows += [unit, -unit]
        self.limits.append((ends[1][on] - start)[least] / size[least])
        self.limits.append((start - ends[0][on])[least] / size[least])
        return wrong

    def middle(self) -> Array | None:
        """Return the z that is furthest from all limits; None where none obeys them."""
        rows = np.concatenate(self.rows)
        n = rows.shape[1]
        found = self._solved(np.r_[np.zeros(n), -1.0], np.c_[rows, np.ones(len(rows))])
        return None if found is None or found[-1] < 0 else found[:n]

    def ends(self) -> tuple[Interval, ...]:
        """Return how far each coefficient may go."""
        rows, n = np.concatenate(self.rows), len(self.fit.errors)
        found = []
        for i in range(n):
            if not self.fit.errors[i]:  # it is not determined
                found.append(Interval())
                continue
            goal = np.eye(n)[i]
            low, high = self._solved(goal, rows), self._solved(-goal, rows)
            if low is None or high is None:
                return (Interval(),) * n
            c, e = self.fit.coefficients[i], self.fit.errors[i]
            found.append(Interval(float(c + e * low[i]), float(c + e * high[i])))
        return tuple(found)

    def _solved(self, goal: Array, rows: Array) -> Array | None:
        from scipy.optimize import linprog

        limits = np.concatenate(self.limits)
        done = linprog(goal, A_ub=rows, b_ub=limits, bounds=(-_ROOM, _ROOM), method="highs")
        return np.asarray(done.x) if done.status == 0 else None


def feasible(sides: Sides, dtype: str, fit: Fit, *, free: bool = False) -> Feasible | None:
    """Return coefficients of the changes for which every entry rounds right; None for none.

    Where the fit is `free`, its first coefficient is that of the first side.
    """
    fit = replace(fit, errors=np.nan_to_num(fit.errors))  # what is not determined stays
    each = max(8, _ADDED * PART // max(sides.entries, 1))
    programme, z = _Programme(fit, each), np.zeros(len(fit.errors))
    for _ in range(_TURNS):
        wrong = False
        for window in sides.parts():
            entries, _ = Entries.of(window, dtype)
            low, high = limits(entries, dtype)
            rows = np.vstack([entries.W, entries.D]) if free else entries.D
            wrong |= programme.add(rows, (low, high), z)
        if not programme.open:
            return None  # an entry that no coefficient moves is elsewhere
        if not wrong:
            own = fit.coefficients + fit.errors * z
            return Feasible(tuple(own.tolist()), programme.ends())
        found = programme.middle()
        if found is None:
            return None
        z = found
    return None


def limits(entries: Entries, dtype: str) -> tuple[Array, Array]:
    """Return between which values each merged change lies, float32's arithmetic allowed for."""
    low, high = bounds(entries.merged.astype(np.float64), dtype)
    slack = 0.0 if dtype == "F64" else FLOAT32
    room = slack * (np.abs(entries.W) + np.abs(entries.D).sum(axis=0))
    return low - entries.W - room, high - entries.W + room
