"""How much the leading directions of many changes of one weight have in common."""

from __future__ import annotations

import numpy as np

from ftdiff.analyses.pairwise import Line
from ftdiff.analyses.similarity.formulas import SPACES
from ftdiff.deltas.recipes import Recipe
from ftdiff.errors import FtdiffError
from ftdiff.metrics.records.subspaces import leading_directions
from ftdiff.tensors import Array, matrices

#: Leading directions of each change.
_MOST = 10
#: Directions that are shorter than this, relative to the first, are rounding.
_LEAST = 1e-6


def overlaps(line: Line) -> dict[str, Array]:
    """Return the numbers of `SPACES`, n × n each; means over the matrices of a tensor.

    NaN for vectors, for changes that are zero, and for those that cannot be read.
    """
    count, rows, columns = matrices(line.address.name, line.shape)
    n = len(line.recipes)
    found = {name: np.full((count, n, n), np.nan) for name in SPACES}
    if len(line.shape) < 2 or min(rows, columns) < 2:
        return unknown(line)
    for index in range(count):
        both = [_directions(line, recipe, (rows, columns), index) for recipe in line.recipes]
        for side, dimension in enumerate((rows, columns)):
            spaces = [None if one is None else one[side] for one in both]
            for what, values in _numbers(spaces, dimension).items():
                found[f"{('left', 'right')[side]}_{what}"][index] = values
    with np.errstate(all="ignore"):
        return {name: _mean(values) for name, values in found.items()}


def unknown(line: Line) -> dict[str, Array]:
    """Return the same for a line of which nothing is known."""
    n = len(line.recipes)
    return {name: np.full((n, n), np.nan) for name in SPACES}


def _mean(values: Array) -> Array:
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(total / np.where(known.any(axis=0), known.sum(axis=0), np.nan))


def _directions(
    line: Line, recipe: Recipe | None, shape: tuple[int, int], index: int
) -> tuple[Array, Array] | None:
    if recipe is None:
        return None
    try:
        found = leading_directions(recipe, line.base, shape, index, _MOST)
    except (FtdiffError, MemoryError):  # the inner products of this one say why
        return None
    values = found.values
    if not len(values) or not np.isfinite(values[0]) or values[0] <= 0:
        return None
    k = int((values > _LEAST * values[0]).sum())
    return found.left[:, :k], found.right[:, :k]


def _numbers(spaces: list[Array | None], dimension: int) -> dict[str, Array]:
    n = len(spaces)
    found = {name: np.full((n, n), np.nan) for name in ("overlap", "overlap_null", "angle")}
    for i, U in enumerate(spaces):
        for j, V in enumerate(spaces[: i + 1]):
            if U is None or V is None:
                continue
            cosines = np.linalg.svd(U.T @ V, compute_uv=False)
            fewest, most = sorted((U.shape[1], V.shape[1]))
            numbers = {
                "overlap": min(1.0, float(np.square(cosines).sum()) / fewest),
                "overlap_null": most / dimension,
                "angle": float(np.degrees(np.arccos(min(1.0, cosines[0])))),
            }
            for name, value in numbers.items():
                found[name][i, j] = found[name][j, i] = value
    return found
