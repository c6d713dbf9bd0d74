"""How far a base lies off the grid of its fine-tunes' dtypes: the rounding error that they share.

A weight that did not move is stored as its base rounded to the fine-tune's dtype. Where the base
is on that grid, as it is where both sides have one dtype, that is no change at all; where it is
not, the same error is in every fine-tune that is stored in the dtype.
"""

from __future__ import annotations

import numpy as np

from ftdiff import kernels
from ftdiff.analyses.pairwise.base_sums import WINDOW
from ftdiff.analyses.pairwise.line import Line
from ftdiff.deltas.moments import exact
from ftdiff.tensors import DTYPES, Array, LazyTensor, numel, precision


def base_rounding_sq(line: Line) -> Array:
    """Return, for each fine-tune, ‖round(W) − W‖² with W rounded to its storage dtype; n float64.

    0 where the base is on that grid, and of a change that was not rounded.
    """
    stored = ["" if recipe is None else recipe.dtype for recipe in line.recipes]
    found = {dtype: _error_sq(line.base, numel(line.shape), dtype) for dtype in {*stored}}
    return np.array([found[dtype] for dtype in stored])


def _error_sq(base: LazyTensor | None, size: int, dtype: str) -> float:
    if base is None or _holds(dtype, base.dtype):
        return 0.0
    squares: list[float] = []
    for start in range(0, size, WINDOW):
        with base.window(start, min(start + WINDOW, size)) as W:
            rounded = W.astype(DTYPES[dtype])
            floats, _ = kernels.sums(W, rounded, base.dtype, dtype)
            squares += floats[:, 2].tolist()
    return float(exact(squares)[0])


def _holds(dtype: str, other: str) -> bool:
    """Say whether every number of the other dtype is one of this; also where one has no grid."""
    mine, its = precision(dtype), precision(other)
    if mine is None or its is None:
        return True
    return dtype == other or (mine[0] <= its[0] and mine[1] <= its[1])
