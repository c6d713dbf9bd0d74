"""How many entries moved by more than a threshold: three that are in use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.recipes import Recipe
from ftdiff.metrics.records.entries import is_float, rounded, strips
from ftdiff.tensors import LazyTensor, numel

#: |ΔW| above this.
ABSOLUTE = 1e-5
#: |ΔW| above this share of max(|w|, |w₁|): under the least step of bfloat16, which is 1/256.
RELATIVE = 1e-3
#: |ΔW| above this share of the tensor's RMS.
OF_RMS = 1e-3


@dataclass(frozen=True)
class Crossings:
    """Counts of entries of one tensor.

    Attributes
    ----------
    numel
        All entries.
    absolute, relative, of_rms
        Those that moved by more than the threshold of that name.
    """

    numel: int
    absolute: int
    relative: int
    of_rms: int


def crossings(recipe: Recipe, base: LazyTensor | None) -> Crossings | None:
    """Count, in two passes over the base and one over the change; None without a base.

    An unmerged adapter is rounded to the base's dtype first, as a merge would: before, it moves
    every entry. Entries that are not finite cross nothing.
    """
    if base is None:
        return None
    merging = not recipe.dtype and is_float(base.dtype)
    with np.errstate(all="ignore"):
        return _counted(recipe, base, merging)


def _counted(recipe: Recipe, base: LazyTensor, merging: bool) -> Crossings:
    least = OF_RMS * _rms(recipe, base)
    absolute = relative = of_rms = 0
    for W, change in strips(recipe, base):
        dW = rounded(W + change, base.dtype) - W if merging else change
        moved = np.abs(dW)
        moved[~np.isfinite(moved)] = 0.0
        absolute += int((moved > ABSOLUTE).sum())
        of_rms += int((moved > least).sum())
        larger = np.maximum(np.abs(W), np.abs(W + dW))
        relative += int((moved > RELATIVE * larger).sum())
    return Crossings(numel(recipe.shape), absolute, relative, of_rms)


def _rms(recipe: Recipe, base: LazyTensor) -> float:
    """Return the RMS of the base's entries that are finite."""
    squares, count, size, step = [], 0, numel(recipe.shape), 1 << 20
    for start in range(0, size, step):
        with base.window(start, min(start + step, size)) as stored:
            W = stored.astype(np.float64)
        finite = W[np.isfinite(W)]
        squares.append(float(np.square(finite).sum()))
        count += finite.size
    return math.sqrt(math.fsum(squares) / count) if count else 0.0
