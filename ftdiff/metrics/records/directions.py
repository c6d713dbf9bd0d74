"""Whether a change takes a direction out of what a matrix writes, or out of what it reads.

W − λ·u·uᵀ·W writes less along u, and W − λ·W·v·vᵀ reads less along v. Both have rank one, which
many changes have; what tells them is that the other side of the pair follows from the base:
v ∝ Wᵀu, or u ∝ W·v. Of independent directions that cosine is 0 ± 1/√n.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.metrics.records.stored_rows import is_stored, runs_of
from ftdiff.tensors import Array, LazyTensor, strip

#: Columns of all rows that are read, and rows of all columns.
_COLUMNS, _ROWS = 96, 64


@dataclass(frozen=True, eq=False)
class Direction:
    """The leading direction of a change, on one side of a matrix.

    Attributes
    ----------
    side
        "writes" (a direction of the rows) or "reads" (of the columns).
    vector
        It, of norm 1.
    fit
        |cos| of the other side with what the base makes of it.
    strength
        λ: how much of what the base has along it is gone; 1 is all.
    share
        σ₁² over Σσ² of what was read.
    rescale
        The multiple of the rest of the base that the rest of the change is.
    """

    side: str
    vector: Array
    fit: float
    strength: float
    share: float
    rescale: float


def directions(
    recipe: Recipe,
    base: LazyTensor | None,
    shape: tuple[int, int],
    sides: Collection[str] = ("writes", "reads"),
) -> tuple[Direction, ...]:
    """Measure a side, or both.

    Of what is written all rows of a few columns are read, else all columns of a few rows.
    """
    if base is None or not isinstance(recipe, Replaced) or not is_stored(recipe, base):
        return ()
    rows, columns = shape
    found = []
    if "writes" in sides:
        start = max(0, (columns - _COLUMNS) // 2)
        across = range(start, min(columns, start + _COLUMNS))
        found.append(_writes(*_pair(base, recipe.tensor, columns, [range(rows)], across)))
    if "reads" in sides:
        runs = runs_of(rows, _ROWS)
        found.append(_reads(*_pair(base, recipe.tensor, columns, runs, range(columns))))
    return tuple(one for one in found if one is not None)


def _pair(
    base: LazyTensor, tuned: LazyTensor, width: int, runs: list[range], columns: range
) -> tuple[Array, Array]:
    """Return W and ΔW of a block."""
    parts: list[tuple[Array, Array]] = []
    for run in runs:
        with strip(base, width, run, columns) as W, strip(tuned, width, run, columns) as M:
            here = W.astype(np.float64)
            parts.append((here, M.astype(np.float64) - here))
    return np.concatenate([W for W, _ in parts]), np.concatenate([D for _, D in parts])


def _writes(W: Array, D: Array) -> Direction | None:
    """Measure W − λ·u·uᵀ·W."""
    squares, vectors = np.linalg.eigh(D.T @ D)
    if not np.isfinite(squares).all() or squares[-1] <= 0:
        return None
    v = vectors[:, -1]
    u = D @ v / np.sqrt(squares[-1])
    u /= np.linalg.norm(u)
    return _direction("writes", u, u @ W, u @ D, squares, W, D)


def _reads(W: Array, D: Array) -> Direction | None:
    """Measure W − λ·W·v·vᵀ: the same of the transposes."""
    squares, vectors = np.linalg.eigh(D @ D.T)
    if not np.isfinite(squares).all() or squares[-1] <= 0:
        return None
    v = vectors[:, -1] @ D / np.sqrt(squares[-1])
    v /= np.linalg.norm(v)
    return _direction("reads", v, W @ v, D @ v, squares, W.T, D.T)


def _direction(
    side: str,
    vector: Array,
    held: Array,
    changed: Array,
    squares: Array,
    W: Array,
    D: Array,
) -> Direction | None:
    """Hold what changed along a vector to what the base has along it."""
    norm = float(np.linalg.norm(held) * np.linalg.norm(changed))
    whole = float(held @ held)
    if not norm or not whole:
        return None
    strength = -float(changed @ held) / whole
    along = np.outer(vector, held)
    other = W - along
    others = float((other * other).sum())
    rescale = float(((D + strength * along) * other).sum()) / others if others else 0.0
    fit = abs(float(changed @ held)) / norm
    share = float(squares[-1] / np.abs(squares).sum())
    return Direction(side, vector, fit, strength, share, rescale)
