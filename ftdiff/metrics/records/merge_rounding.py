"""What a merge keeps of an unmerged change: W + ΔW, rounded to the dtype it would be stored in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.recipes import Recipe
from ftdiff.metrics.records.entries import is_float, rounded, strips
from ftdiff.tensors import LazyTensor, numel

#: The dtypes that a merge is tried in; "" is the base's own.
ROUNDED = ("", "BF16", "F16")


@dataclass(frozen=True)
class Merged:
    """One tensor, merged in several dtypes.

    Attributes
    ----------
    numel
        All entries.
    delta_sq
        ‖ΔW‖² before rounding.
    visible
        By dtype, the entries whose merged value is not the base's.
    error_sq
        By dtype, ‖round(W + ΔW) − W − ΔW‖².
    """

    numel: int
    delta_sq: float
    visible: Mapping[str, int]
    error_sq: Mapping[str, float]

    def share(self, dtype: str) -> float:
        """Return the share of entries that a merge in this dtype would change; NaN if unknown."""
        return self.visible.get(dtype, math.nan) / self.numel if self.numel else math.nan

    def error(self, dtype: str) -> float:
        """Return the merge's error against the size of the change; NaN if unknown."""
        lost = self.error_sq.get(dtype, math.nan)
        return math.sqrt(lost / self.delta_sq) if self.delta_sq else math.nan


def merged(recipe: Recipe, base: LazyTensor | None) -> Merged | None:
    """Merge a strip at a time; None where there is no base, or nothing is left to be merged.

    Entries that are not finite count for nothing.
    """
    if base is None or recipe.dtype or not is_float(base.dtype):
        return None
    with np.errstate(all="ignore"):
        return _counted(recipe, base)


def _counted(recipe: Recipe, base: LazyTensor) -> Merged:
    visible, lost = dict.fromkeys(ROUNDED, 0), {dtype: [0.0] for dtype in ROUNDED}
    squares = [0.0]
    for W, dW in strips(recipe, base):
        exact = W + dW
        finite = np.isfinite(exact)
        squares.append(float(np.square(dW[finite]).sum()))
        for dtype in ROUNDED:
            kept = rounded(exact, dtype or base.dtype)
            visible[dtype] += int(((kept != W) & finite).sum())
            lost[dtype].append(float(np.square((kept - W - dW)[finite]).sum()))
    errors = {dtype: math.fsum(parts) for dtype, parts in lost.items()}
    return Merged(numel(recipe.shape), math.fsum(squares), visible, errors)
