"""Sums of parents whose weights do not add up to 1: without a base that is left open at first."""

from __future__ import annotations

import numpy as np

from ftdiff.analyses.merges import fit
from ftdiff.analyses.merges.fit import Fit
from ftdiff.tensors import Array

#: How many errors, and how much at least, the weights' sum must miss 1, and how much less must be
#: left than with a sum of 1.
_SURE, _LEAST, _LESS = 8.0, 2e-3, 0.5


def scaled(gram: Array, count: int, whole: Fit) -> Fit | None:
    """Return a fit on all parents whose weights are free; None where it does not demand that.

    Parameters
    ----------
    gram
        Products of the first parent, the others' changes against it, and the merged one's.
    count
        Entries that are moved.
    whole
        The fit with weights that add up to 1.

    Returns
    -------
    Fit
        A coefficient for each parent.
    """
    free = fit.solve(gram, count)
    beyond, error = float(free.coefficients[0]), float(free.errors[0])
    if not np.isfinite(free.errors).all() or abs(beyond) <= max(_LEAST, _SURE * error):
        return None
    if free.chi_sq > _LESS * whole.chi_sq:
        return None
    others = free.coefficients[1:]
    first = float(np.sqrt(np.square(free.errors).sum()))
    return Fit(np.r_[1 + beyond - others.sum(), others], np.r_[first, free.errors[1:]], free.chi_sq)
