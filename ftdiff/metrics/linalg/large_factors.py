"""Factors of a large stored change: a few rounds of weighted least squares, in float32.

The same alternation as for small ones, by runs of rows: products of whole runs in float32, the
small system of each row and column in float64. Nothing of the matrix' size is held beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.metrics.linalg.range_finder import runs, top
from ftdiff.metrics.linalg.stored_change import Rounded, overwrite
from ftdiff.tensors import Array

#: Products of float32 that are spent on a matrix, entries that all rounds together pass by, and
#: rounds at most. Of 4096² that is eight rounds up to a rank of 34, two of 64, and none beyond 99:
#: the factors are singular vectors then, all entries alike.
_PRODUCTS, _ENTRIES, _MOST = 20_000 << 24, 1 << 27, 14
#: The share of the rounds that go towards the intervals.
_LAST = 0.4
#: What an entry weighs that rounds right already, and the share of its interval that is aimed at.
_HELD_DOWN, _INSIDE = np.float32(0.01), np.float32(0.98)
#: Rounds of a scale of each row, unweighted; the fall of what is left at which they end.
_SCALES, _SETTLED = 12, 1e-3
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Fit:
    """B and A, what is added to each row's scale, and how they hold; see `factors.Factors`."""

    B: Array
    A: Array
    extra: Array | None
    replay: float
    chi_sq: float


def fitted(
    stored: Rounded,
    rank: int,
    base: Array | None,
    *,
    twice: bool = False,
    rounds: int | None = None,
) -> Fit:
    """Fit factors of this rank.

    Parameters
    ----------
    stored, rank, base
        As in `factors.fitted`; the base as it is stored.
    twice
        ΔW was rounded before it was added.
    rounds
        How many; as many as are affordable if None.
    """
    B, A, extra = _start(stored, rank, base)
    if rounds is None:
        rounds = _affordable(stored, rank)
    across, turned = stored.turned, None if base is None else base.T
    for turn in range(rounds):
        narrow = turn >= rounds - round(_LAST * rounds)
        B, extra = _solved(_Side(stored, base, extra, True, twice, narrow), B, A)
        B, A = _balanced(B, A)
        values = np.maximum(np.linalg.norm(B, axis=0), np.finfo(float).tiny)
        U, right = B / values, A.T * values
        right, _ = _solved(_Side(across, turned, extra, False, twice, narrow), right, U.T)
        B, A = _balanced(U, right.T)
    return Fit(B, A, extra, *_judged(stored, base, B, A, extra))


def _affordable(stored: Rounded, rank: int) -> int:
    size = stored.change.size
    return min(_MOST, _ENTRIES // size, _PRODUCTS // (2 * rank * (rank + 1) * size))


def error(stored: Rounded, W: Array, B: Array, A: Array, extra: Array | None) -> float:
    """Return how far off such factors are recovered; the stored change is written over."""
    base = None if extra is None else W
    overwrite(stored, W, lambda rows: _sum(rows, base, B, A, extra))
    rounds = 0 if stored.grid == "F32" else None
    other = fitted(stored, len(A), base, rounds=rounds)
    norm = _norm(B, A)
    off = _norm(np.hstack([other.B, -B]), np.vstack([other.A, A]))
    return off / norm if norm else float("nan")


def scales_leave(stored: Rounded, rank: int, base: Array) -> float:
    """Return the squares left by a scale of each row of the base and factors of this rank."""
    B, A, extra = _start(stored, rank, base)
    left = 0.0
    for rows in stored.runs():
        R = stored.change[rows] - _sum(rows, base, B, A, extra)
        left += float(np.square(R).sum(dtype=np.float64))
    return left


def _start(stored: Rounded, rank: int, base: Array | None) -> tuple[Array, Array, Array | None]:
    """Return leading factors, with a scale of each row beside them where there is a base."""
    if base is None:
        return *_leading(stored.change, rank)[:2], None
    none = np.zeros((len(base), 0)), np.zeros((0, base.shape[1]))
    B, A = none
    extra = _scales(stored, base, A)
    before = np.inf
    for _ in range(_SCALES if rank else 0):
        R = np.empty_like(stored.change)
        for rows in stored.runs():
            R[rows] = stored.change[rows] - _sum(rows, base, *none, extra)
        B, A, rest = _leading(R, rank)
        if not rest < before * (1 - _SETTLED):
            break
        before, extra = rest, _scales(stored, base, A)
    return B, A, extra


def _leading(M: Array, rank: int) -> tuple[Array, Array, float]:
    found = top(M, rank)
    B = np.concatenate([M[run].astype(np.float64) @ found.right.T for run in runs(M)])
    return B, found.right, found.rest


def _scales(stored: Rounded, base: Array, A: Array) -> Array:
    """Return what is best added to each row's scale where factors with these rows are free."""
    extra = np.zeros(len(base))
    for rows in stored.runs():
        W = base[rows].astype(np.float64)
        W -= (W @ A.T) @ A
        squares = np.square(W).sum(axis=1)
        along = (W * stored.change[rows]).sum(axis=1)
        extra[rows] = np.divide(along, squares, out=np.zeros(len(W)), where=squares > 0)
    return extra


@dataclass(frozen=True, eq=False)
class _Side:
    """What is solved for row by row: of a change, or of the same with columns for rows.

    Attributes
    ----------
    stored, base
        The change, and the base where it is scaled.
    extra
        What is added to the base's scale.
    by_rows
        The scale is of each row here, and solved for too; else it is of each column.
    twice, narrow
        The weights are those of two roundings; the sum is moved towards the entries' intervals.
    """

    stored: Rounded
    base: Array | None
    extra: Array | None
    by_rows: bool
    twice: bool
    narrow: bool

    def wanted(self, rows: slice, B: Array, A: Array) -> tuple[Array, Array]:
        """Return what these rows should be, and how much each entry weighs; float32."""
        stored = self.stored
        weights = stored.weights(self.twice, rows)
        scaled: Any = np.float32(0)
        if self.base is not None and self.extra is not None:
            W = self.base[rows].astype(np.float32)
            scaled = W * (self.extra[rows, None] if self.by_rows else self.extra).astype(np.float32)
        target = stored.change[rows]
        if self.narrow:
            L = B[rows] @ A + scaled
            half = (stored.high[rows] - stored.low[rows]) * (_INSIDE / 2)
            middle = (stored.high[rows] + stored.low[rows]) / 2
            target = np.clip(L, middle - half, middle + half)
            weights = np.where(target == L, weights * _HELD_DOWN, weights)
        return target if self.by_rows else target - scaled, weights


def _solved(side: _Side, B: Array, A: Array) -> tuple[Array, Array | None]:
    """Return the B, and scales, that have the least weighted squares beside A, row by row."""
    B32, A32 = B.astype(np.float32), A.astype(np.float32)
    found = np.empty_like(B)
    scaled = side.base is not None and side.by_rows
    extra = np.zeros(len(B)) if scaled else side.extra
    products = np.concatenate([A32[i] * A32[i:] for i in range(len(A32))])
    for rows in side.stored.runs():
        target, weights = side.wanted(rows, B32, A32)
        G = _normal(weights @ products.T, len(A32))
        found[rows] = _system(G, (weights * target) @ A32.T)
        if scaled and side.base is not None and extra is not None:
            W = side.base[rows].astype(np.float32)
            of_base = _system(G, (weights * W) @ A32.T)
            over = W - of_base.astype(np.float32) @ A32
            left = target - found[rows].astype(np.float32) @ A32
            squares = (weights * np.square(over)).sum(axis=1, dtype=np.float64)
            along = (weights * over * left).sum(axis=1, dtype=np.float64)
            c = np.divide(along, squares, out=np.zeros(len(W)), where=squares > 0)
            found[rows] -= c[:, None] * of_base
            extra[rows] = c
    return found, extra


def _normal(products: Array, k: int) -> Array:
    """Return A·diag(w)·Aᵀ of each row's weights, k × k, float64, from its upper triangle."""
    G = np.empty((len(products), k, k))
    at = 0
    for i in range(k):
        G[:, i, i:] = G[:, i:, i] = products[:, at : at + k - i]
        at += k - i
    trace = np.trace(G, axis1=1, axis2=2)
    G[:, range(k), range(k)] += (_TINY * trace + np.finfo(float).tiny)[:, None]
    return G


def _system(G: Array, right: Array) -> Array:
    found: Array = np.linalg.solve(G, right.astype(np.float64)[:, :, None])[:, :, 0]
    return found


def _balanced(B: Array, A: Array) -> tuple[Array, Array]:
    """Return the same product with orthonormal rows of A, and orthogonal columns of B."""
    Q, R = np.linalg.qr(B)
    P, S = np.linalg.qr(A.T)
    U, values, V = np.linalg.svd(R @ S.T)
    return (Q @ U) * values, V @ P.T


def _norm(B: Array, A: Array) -> float:
    """Return ‖B·A‖ without the product."""
    return float(np.linalg.norm(np.linalg.qr(B)[1] @ np.linalg.qr(A.T)[1].T))


def _sum(rows: slice, base: Array | None, B: Array, A: Array, extra: Array | None) -> Array:
    """Return these rows of B·A and of what the scales add; float32."""
    L: Array = B[rows].astype(np.float32) @ A.astype(np.float32)
    if base is not None and extra is not None:
        L += base[rows].astype(np.float32) * extra[rows, None].astype(np.float32)
    return L


def _judged(
    stored: Rounded, base: Array | None, B: Array, A: Array, extra: Array | None
) -> tuple[float, float]:
    """Return the share of entries that round right, and χ² over the degrees of freedom."""
    inside, chi_sq = 0, 0.0
    for rows in stored.runs():
        L = _sum(rows, base, B, A, extra)
        inside += int(stored.holds(L, rows).sum())
        off = np.square((stored.change[rows] - L).astype(np.float64))
        chi_sq += float((off / stored.variance[rows]).sum())
    count, width = stored.shape
    free = max(1, (count - len(A)) * (width - len(A)))
    return inside / stored.change.size, chi_sq / free
