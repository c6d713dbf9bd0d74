"""Singular values of what may hold anything."""

from __future__ import annotations

import numpy as np

from ftdiff.tensors import Array


def values(M: Array) -> Array:
    """Return M's singular values, largest first (LAPACK, float64); NaN if an entry is not finite.

    >>> values(np.diag([3.0, -4.0])).tolist()
    [4.0, 3.0]
    """
    if not np.isfinite(M).all():
        return np.full(min(M.shape), np.nan)
    return np.linalg.svd(M, compute_uv=False)
