"""How values lie in the cells of a quantised base's codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.verification.replay import spacing
from ftdiff.analyses.verification.stored import RUN
from ftdiff.deltas.recipes import Recipe
from ftdiff.formats import Quantised
from ftdiff.tensors import LazyTensor, matrix_shape, numel


@dataclass(frozen=True)
class Inside:
    """How values lie in the cells of a quantised base's codes.

    Attributes
    ----------
    share
        Of the values, those that round to their code.
    spread
        Their squared distance from the dequantised values, over what values that are spread evenly
        over each cell have: near 1 where these are the values that were quantised.
    """

    share: float
    spread: float


def inside(base: Quantised, recipe: Recipe | None, merged: LazyTensor, factor: float = 1) -> Inside:
    """Hold M − `factor` · ΔW against the cells of the base's codes.

    Half a unit in the last place of the file is allowed for. Cells without an end are as wide
    beyond their level as before it.
    """
    columns = matrix_shape(base.shape)[1]
    step = max(1, RUN // max(1, columns)) * max(1, columns)
    size = numel(base.shape)
    own, off, even = 0, 0.0, 0.0
    read = recipe.entries(base) if recipe is not None and factor else None
    for start in range(0, size, step):
        stop = min(start + step, size)
        low, high = (ends.astype(np.float64) for ends in base.cells(start, stop))
        with merged.window(start, stop) as M, base.window(start, stop) as W:
            found, level = M.astype(np.float64), W.astype(np.float64)
        slack = spacing(merged.dtype)[0] / 2 * np.abs(found)
        if read is not None:
            found -= factor * read(start, stop)
        own += int(((found >= low - slack) & (found <= high + slack)).sum())
        low = np.where(np.isfinite(low), low, 2 * level - high)
        high = np.where(np.isfinite(high), high, 2 * level - low)
        off += float(np.nansum((found - level) ** 2))
        even += float(np.nansum((high - low) ** 2)) / 12
    return Inside(own / max(1, size), off / even if even else 0.0)
