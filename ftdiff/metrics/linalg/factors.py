"""Low-rank factors of a stored change, each entry weighted by how finely it is known.

Weighted least squares in turn for the rows of B and the columns of A (the classical alternation:
Gabriel and Zamir, Lower rank approximation of matrices by least squares with any choice of weights,
1979); then towards the set of changes of which every entry rounds to what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ftdiff.metrics.linalg import large_factors
from ftdiff.metrics.linalg.lanczos import leading
from ftdiff.metrics.linalg.row_matrices import Held
from ftdiff.metrics.linalg.stored_change import Rounded, again
from ftdiff.metrics.linalg.svd import SMALL_SIDE
from ftdiff.tensors import Array

#: Rounds of least squares at most, and the relative fall of the sum at which they end.
_ROUNDS, _SETTLED = 60, 1e-5
#: Rounds towards the intervals, and how many without progress end them.
_NARROWING, _PATIENCE = 200, 40
#: Products that all rounds of a kind may take, and how many rounds there are whatever they take:
#: large matrices have so many more entries for each number that few rounds do.
_PRODUCTS, _FEWEST = 1 << 32, 12
#: Turns of the rows and columns that are left, where under half of them are.
_LAST = 200
#: What an entry weighs that rounds right already, and the share of its interval that is aimed at.
_HELD_DOWN, _INSIDE = 0.01, 0.98
_BLOCK = 1 << 24  # entries of normal matrices that are solved at a time
_TINY = 1e-13
#: Where fewer entries replay, ΔW may have been rounded before it was added.
_REPLAYED = 0.9

#: B, what is added to each row's scale, and A.
Fit: TypeAlias = tuple[Array, "Array | None", Array]


@dataclass(frozen=True, eq=False)
class Factors:
    """B and A of a change, and the scale of each output row of the base where there is one.

    Attributes
    ----------
    B, A
        Rows × rank and rank × columns, float64.
    scale
        Of each row, None where the base's rows keep theirs.
    replay
        The share of entries whose sum with the base rounds to what is stored.
    chi_sq
        Σ residual² over its variance, over the degrees of freedom: 1 for what rounding leaves.
    """

    B: Array
    A: Array
    scale: Array | None
    replay: float
    chi_sq: float

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return int(self.A.shape[0])


def fitted(stored: Rounded, rank: int, base: Array | None = None) -> Factors:
    """Fit factors of this rank to a stored change.

    Parameters
    ----------
    stored
        The change.
    rank
        Of the factors, at least 1.
    base
        W0, where each of its rows may have been scaled too: M = diag(c)·W0 + B·A.
    """
    fine = stored.grid in ("F32", "F64")  # their products are no finer than their sums
    if stored.is_large:
        return _of_large(stored, rank, base, fine)
    first = _least_squares(stored, rank, base, stored.weights(twice=fine), not fine)
    if first.replay > _REPLAYED or fine:
        return first
    second = _least_squares(stored, rank, base, stored.weights(twice=True), narrow=True)
    return second if second.chi_sq < first.chi_sq else first


def _of_large(stored: Rounded, rank: int, base: Array | None, fine: bool) -> Factors:
    found = large_factors.fitted(stored, rank, base, rounds=0 if fine else None)
    if found.replay <= _REPLAYED and not fine:
        second = large_factors.fitted(stored, rank, base, twice=True)
        found = second if second.chi_sq < found.chi_sq else found
    scale = None if found.extra is None else 1 + found.extra
    return Factors(found.B, found.A, scale, found.replay, found.chi_sq)


def error(stored: Rounded, W: Array, factors: Factors) -> float:
    """Return how far factors are off, over ‖B·A‖, by what becomes of others that are known.

    These are as large, and merged into the same base: those that were found, moved by a column, so
    that all entries round anew. They are recovered, and compared. A large change is written over.
    """
    extra = None if factors.scale is None else factors.scale - 1
    A = np.roll(factors.A, 1, axis=1)
    if stored.is_large:
        return large_factors.error(stored, W, factors.B, A, extra)
    L = factors.B @ A
    whole = again(stored, W, _sum(factors.B, A, W, extra))
    other = fitted(whole, factors.rank, None if extra is None else W)
    norm = float(np.linalg.norm(L))
    return float(np.linalg.norm(other.B @ other.A - L)) / norm if norm else float("nan")


def _least_squares(
    stored: Rounded, rank: int, base: Array | None, weights: Array, narrow: bool
) -> Factors:
    D = stored.change
    extra, A = _start(stored, rank, base)
    if base is not None:  # with scales, wide weights are slow to find their way from afar
        _, extra, A = _settled(D, np.ones_like(D), A, base, extra)
    B, extra, A = _settled(D, weights, A, base, extra)
    if narrow:
        B, extra, A = _narrowed(stored, weights, B, A, base, extra)
        B, A = _finished(stored, weights, B, A, base, extra)
    L = _sum(B, A, base, extra)
    rows, columns = D.shape
    free = max(1, (rows - rank) * (columns - rank))
    return Factors(
        B, A, None if extra is None else 1 + extra,
        replay=float(stored.holds(L).mean()),
        chi_sq=float((np.square(D - L) / stored.variance).sum() / free),
    )  # fmt: skip


def scales_leave(stored: Rounded, rank: int, base: Array) -> float:
    """Return the squares left by a scale of each row of the base and factors of this rank."""
    if stored.is_large:
        return large_factors.scales_leave(stored, rank, base)
    extra, A = _start(stored, rank, base)
    B = np.zeros((len(base), 0))
    if rank:
        B, extra, A = _settled(stored.change, np.ones_like(base), A, base, extra)
    return float(np.square(stored.change - _sum(B, A, base, extra)).sum())


def _settled(D: Array, weights: Array, A: Array, base: Array | None, extra: Array | None) -> Fit:
    """Alternate until the sum of squares hardly falls."""
    before = np.inf
    for _ in range(_affordable(_ROUNDS, D, A)):
        B, extra, A = _round(D, weights, A, base, extra)
        now = float((weights * np.square(D - _sum(B, A, base, extra))).sum())
        if not now < before * (1 - _SETTLED):
            break
        before = now
    return B, extra, A


def _start(stored: Rounded, rank: int, base: Array | None) -> tuple[Array | None, Array]:
    """Return a first scale of each row, less 1, and the leading right singular vectors."""
    D = stored.change
    if base is None:
        return None, leading_right(D, rank)
    squares = np.square(base).sum(axis=1)
    extra = np.divide((D * base).sum(axis=1), squares, out=np.zeros(len(D)), where=squares > 0)
    return extra, leading_right(D - extra[:, None] * base, rank)


def leading_right(D: Array, rank: int) -> Array:
    """Return the first right singular vectors, rank × columns."""
    if min(D.shape) <= SMALL_SIDE:
        found: Array = np.linalg.svd(D, full_matrices=False)[2][:rank]
        return found
    right: Array = leading(Held(D), rank).right.T
    return right


def _round(D: Array, weights: Array, A: Array, base: Array | None, extra: Array | None) -> Fit:
    """Solve for B, with the rows' scales, then for A."""
    if base is None:
        B = _rows(D, weights, A)
    else:
        B, extra = _scaled_rows(D, weights, A, base)
        D = D - extra[:, None] * base
    B = np.linalg.qr(B)[0]
    return B, extra, _rows(D.T, weights.T, B.T).T


def _narrowed(
    stored: Rounded, weights: Array, B: Array, A: Array, base: Array | None, extra: Array | None
) -> Fit:
    """Move the sum to where more of its entries lie in their intervals; return the best seen."""
    middle = (stored.low + stored.high) / 2
    half = (stored.high - stored.low) / 2 * _INSIDE
    best, most, since = (B, extra, A), -1, 0
    for _ in range(_affordable(_NARROWING, weights, A)):
        L = _sum(B, A, base, extra)
        inside = int(stored.holds(L).sum())
        best, most, since = ((B, extra, A), inside, 0) if inside > most else (best, most, since + 1)
        if most == L.size or since > _PATIENCE:
            break
        target = np.clip(L, middle - half, middle + half)
        now = np.where(target == L, weights * _HELD_DOWN, weights)
        B, extra, A = _round(target, now, A, base, extra)
    return best


def _finished(
    stored: Rounded, weights: Array, B: Array, A: Array, base: Array | None, extra: Array | None
) -> tuple[Array, Array]:
    """Move only the rows and columns that have entries outside their intervals yet."""
    scaled = 0.0 if base is None or extra is None else extra[:, None] * base
    low, high = stored.low - scaled, stored.high - scaled
    middle, half = (low + high) / 2, (high - low) / 2 * _INSIDE
    best, most, since = (B, A), -1, 0
    for turn in range(_LAST):
        L = B @ A
        within = (low <= L) & (high >= L)
        inside = int(within.sum())
        best, most, since = ((B, A), inside, 0) if inside > most else (best, most, since + 1)
        if inside == L.size or since > _PATIENCE:
            break
        side = turn % 2
        some = np.flatnonzero(~within.all(axis=1 - side))
        if 2 * len(some) > within.shape[side]:
            break
        at = (some, slice(None)) if side == 0 else (slice(None), some)
        target = np.clip(L[at], (middle - half)[at], (middle + half)[at])
        now = np.where(target == L[at], weights[at] * _HELD_DOWN, weights[at])
        if side == 0:
            B = B.copy()
            B[some] = _rows(target, now, A)
        else:
            A = A.copy()
            A[:, some] = _rows(target.T, now.T, B.T).T
    return best


def _affordable(rounds: int, D: Array, A: Array) -> int:
    """Return how many rounds are gone through with a matrix of this size, at this rank."""
    each = D.size * max(1, len(A) * (len(A) + 1))
    return max(_FEWEST, min(rounds, _PRODUCTS // each))


def _sum(B: Array, A: Array, base: Array | None, extra: Array | None) -> Array:
    L: Array = B @ A
    return L if base is None or extra is None else L + extra[:, None] * base


def _normal(weights: Array, A: Array) -> Iterator[tuple[slice, Array]]:
    """Yield A·diag(w)·Aᵀ of runs of rows, each rank × rank."""
    k = len(A)
    i, j = np.triu_indices(k)
    products = (A[i] * A[j]).T
    step = max(1, _BLOCK // (k * k))
    for start in range(0, len(weights), step):
        rows = slice(start, min(start + step, len(weights)))
        G = np.empty((rows.stop - start, k, k))
        G[:, i, j] = weights[rows] @ products
        G[:, j, i] = G[:, i, j]
        trace = np.trace(G, axis1=1, axis2=2)
        G[:, range(k), range(k)] += (_TINY * trace + np.finfo(float).tiny)[:, None]
        yield rows, G


def _rows(D: Array, weights: Array, A: Array) -> Array:
    """Return the B that has the least Σ w (D − B·A)², row by row."""
    B = np.empty((len(D), len(A)))
    for rows, G in _normal(weights, A):
        right = (weights[rows] * D[rows]) @ A.T
        B[rows] = np.linalg.solve(G, right[:, :, None])[:, :, 0]
    return B


def _scaled_rows(D: Array, weights: Array, A: Array, base: Array) -> tuple[Array, Array]:
    """Return B and the c that have the least Σ w (D − c·W0 − B·A)², row by row."""
    from_change, from_base = _rows(D, weights, A), _rows(base, weights, A)
    over = base - from_base @ A
    under = (weights * np.square(over)).sum(axis=1)
    left = (weights * over * (D - from_change @ A)).sum(axis=1)
    c = np.divide(left, under, out=np.zeros(len(D)), where=under > 0)
    return from_change - c[:, None] * from_base, c
