"""How large both sides and the change are, in the 1-norm: the tuned side is in no other sum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.recipes import Recipe
from ftdiff.metrics.records.entries import strips
from ftdiff.tensors import LazyTensor


@dataclass(frozen=True)
class Absolutes:
    """Sums of absolute values over one tensor's entries that are finite on both sides.

    Attributes
    ----------
    base, tuned, change
        Σ|W|, Σ|W + ΔW| and Σ|ΔW|, in float64.
    """

    base: float
    tuned: float
    change: float


def absolutes(recipe: Recipe, base: LazyTensor | None) -> Absolutes | None:
    """Add up, in one pass over base and change; None without a base.

    An unmerged adapter is added to the base without rounding.
    """
    if base is None:
        return None
    sums: list[tuple[float, ...]] = []
    with np.errstate(all="ignore"):
        for W, dW in strips(recipe, base):
            W1 = W + dW
            finite = np.isfinite(W1)
            sums.append(tuple(float(np.abs(part[finite]).sum()) for part in (W, W1, dW)))
    return Absolutes(*(math.fsum(part[i] for part in sums) for i in range(3)))
