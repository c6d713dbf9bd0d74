"""Guess what a tensor is before it is gone through: from a sample of it, and from other tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.analyses.merges import fit
from ftdiff.analyses.merges.replays import Guess, Setting, best, equal
from ftdiff.analyses.merges.scaled import scaled
from ftdiff.analyses.merges.sides import Sides
from ftdiff.analyses.merges.sums import Entries
from ftdiff.analyses.merges.ways import written


@dataclass(frozen=True)
class Hint:
    """What other tensors are: a small one does not tell its coefficients by itself.

    Attributes
    ----------
    weights
        Those of a sum.
    t
        How far the others lie from the first parent towards the second.
    way
        The arithmetic.
    """

    weights: tuple[float, ...] | None = None
    t: float | None = None
    way: str = "linear"


def guess_of(sides: Sides, with_base: bool, known: Sequence[Hint]) -> Guess:
    """Guess weights and arithmetic, by what others are if a sample does not speak against it."""
    likely = [
        Guess(Setting(one.weights, with_base), one.way) for one in known if one.weights is not None
    ]
    dtype, *others = sides.dtypes
    parents = len(others) - with_base
    plain = likely[0] if likely else Guess(Setting((1 / parents,) * parents, with_base), "linear")
    if sides.far:
        return plain
    if likely:
        glance, _ = Entries.of(sides.glance, dtype)
        moved = int(glance.moved.sum())
        for one in likely:
            if equal(glance, dtype, one).equal == moved:
                whole = with_base or abs(sum(one.setting.weights) - 1) < 1e-9
                return replace(one, trusted=whole)  # else the first side is fitted too
    sample, _ = Entries.of(sides.sample, dtype)
    moved = int(sample.moved.sum())
    rows = np.vstack([sample.W, sample.D])
    gram = fit.weighted(rows, sample.y, sample.ulp)
    own = fit.solve(gram[1:, 1:], moved)
    if not moved or not np.isfinite(own.errors).any():
        return plain
    free = None if with_base else scaled(gram, moved, own)
    c, errors = (own.coefficients, own.errors) if free is None else (free.coefficients, free.errors)
    errors = np.nan_to_num(errors)
    if not with_base and free is None:
        c, errors = np.r_[1 - c.sum(), c], np.r_[errors.max(), errors]
    tried = dict.fromkeys(written(c.tolist(), errors.tolist()))
    return best(sample, dtype, [Setting(one, with_base) for one in tried])
