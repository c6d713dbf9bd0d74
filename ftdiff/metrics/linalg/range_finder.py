"""The largest singular values of a large matrix from its range, with what they leave, exactly.

Halko, Martinsson and Tropp, Finding structure with randomness, 2011 (algorithms 4.4 and 5.1): a
random subspace, drawn towards the leading one by powers; the last step is in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array

#: Directions beyond those that are asked for, and powers of MᵀM that are taken.
_MORE, _POWERS = 8, 2
#: Entries of a run of rows in float64.
_RUN = 1 << 20


@dataclass(frozen=True, eq=False)
class Top:
    """The k largest singular values, and what is beyond them.

    Attributes
    ----------
    values
        float64, largest first; none is above the true one.
    right
        k × columns, float64, orthonormal.
    rest
        ‖M‖² less Σσ² of these, from the residual: the rest of the squares is no more.
    """

    values: Array
    right: Array
    rest: float


def top(M: Array, k: int) -> Top:
    """Return the k largest singular values of a float32 matrix, from a fixed start.

    Parameters
    ----------
    M
        Rows × columns.
    k
        Fewer than either.
    """
    rows, columns = M.shape
    wide = min(k + _MORE, rows, columns)
    start = np.random.default_rng(columns).standard_normal((columns, wide), dtype=np.float32)
    Q = _basis(M @ start)
    for _ in range(_POWERS):
        right = _basis(M.T @ Q)
        Q = _basis(M @ right)
    V = np.linalg.qr(right.astype(np.float64))[0]
    left = np.linalg.qr(np.concatenate([M[run].astype(np.float64) @ V for run in runs(M)]))[0]
    B = np.zeros((wide, columns))
    for run in runs(M):
        B += left[run].T @ M[run].astype(np.float64)
    beyond = 0.0
    for run in runs(M):
        beyond += float(np.square(M[run].astype(np.float64) - left[run] @ B).sum())
    values, directions = np.linalg.svd(B, full_matrices=False)[1:]
    return Top(values[:k], directions[:k], beyond + float(np.square(values[k:]).sum()))


def _basis(Y: Array) -> Array:
    """Return an orthonormal basis; the entries' size is taken out, as squares of them may be 0."""
    largest = float(np.abs(Y).max(initial=0.0))
    found: Array = np.linalg.qr(Y / largest if largest else Y)[0]
    return found


def runs(M: Array, entries: int = _RUN) -> Iterator[slice]:
    """Yield runs of rows with so many entries."""
    step = max(1, entries // max(1, M.shape[1]))
    for start in range(0, len(M), step):
        yield slice(start, min(start + step, len(M)))
