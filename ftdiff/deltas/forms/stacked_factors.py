"""⟨ΔWᵢ, ΔWⱼ⟩ of many products of two factors, from two Gram matrices of all factors stacked.

⟨s₁B₁A₁, s₂B₂A₂⟩ = s₁s₂ Σ (B₁ᵀB₂ ∘ A₁A₂ᵀ). The stack is cut into groups, so that memory does not
grow with the number of changes; the cut changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.kernels import gram, stacked_gram, transposed
from ftdiff.tensors import Array

#: Factors whose Gram products exceed ‖ΔW‖² by more than this are made orthogonal first.
_SKEWED = 1e6
#: Rows of stacked factors of which products are held at a time.
_STACKED = 800


@dataclass(frozen=True, eq=False)
class _Factors:
    """Bᵀ and A, r rows each (at least one), finite, of one dtype: float32 or float64."""

    B: Array
    A: Array
    scaling: float

    @property
    def rank(self) -> int:
        return len(self.A)


def products(deltas: Sequence[LowRank], ranks: Sequence[int] | None = None) -> Array:
    """Return all ⟨ΔWᵢ, ΔWⱼ⟩, n × n float64, exactly symmetric.

    Parameters
    ----------
    deltas
        Products of one shape; entries that are not finite count as zero. Each is taken from the
        sequence when it is needed, again for each group, and not kept.
    ranks
        The rank of each, where it is known without taking it.
    """
    G = np.zeros((len(deltas), len(deltas)))
    groups = [*_groups([delta.rank for delta in deltas] if ranks is None else ranks)]
    skewed: set[int] = set()
    for number, here in enumerate(groups):
        right = [_factors(deltas[i]) for i in here]
        own = _terms(right, right)
        bad = {i for i, one in zip(here, _skew(own, right), strict=True) if one}
        if bad:  # a product that is small beside its factors: rounding would be all that is left
            skewed |= bad
            right = [_orthogonal(p) if i in bad else p for i, p in zip(here, right, strict=True)]
            own = _terms(right, right)
        G[np.ix_(here, here)] = _summed(own, right, right)
        for there in groups[:number]:
            left = [_factors(deltas[i]) for i in there]
            left = [_orthogonal(p) if i in skewed else p for i, p in zip(there, left, strict=True)]
            G[np.ix_(there, here)] = _summed(_terms(right, left), left, right)
    return np.asarray(np.triu(G) + np.triu(G, 1).T)


def _groups(ranks: Sequence[int]) -> Iterator[range]:
    """Cut the changes into runs of at most so many rows, of at least one change each."""
    first, rows = 0, 0
    for i, rank in enumerate(ranks):
        if rows and rows + max(1, rank) > _STACKED:
            yield range(first, i)
            first, rows = i, 0
        rows += max(1, rank)
    if ranks:
        yield range(first, len(ranks))


def _factors(delta: LowRank) -> _Factors:
    """Return factors of rank 1 at least, with zeros for what is not finite."""
    B, A = delta.B, delta.A
    if delta.nonfinite():
        rows, columns = delta.finite()
        B, A = np.where(rows[:, None], B, 0), np.where(columns, A, 0)
    if not delta.rank:
        B, A = np.zeros((len(B), 1), B.dtype), np.zeros((1, A.shape[1]), A.dtype)
    single = A.dtype == B.dtype == np.float32
    B = transposed(B) if single else np.ascontiguousarray(B.T, np.float64)
    return _Factors(B, np.ascontiguousarray(A, B.dtype), delta.scaling)


def _terms(left: Sequence[_Factors], right: Sequence[_Factors]) -> Array:
    """Return B₁ᵀB₂ ∘ A₁A₂ᵀ of the stacks: a row for each one of the left."""
    terms = _gram([one.A for one in left], [one.A for one in right], left is right)
    terms *= _gram([one.B for one in left], [one.B for one in right], left is right)
    return terms


def _gram(left: list[Array], right: list[Array], same: bool) -> Array:
    if all(one.dtype == np.float32 for one in (*left, *right)):
        return stacked_gram(left, None if same else right)
    X = np.concatenate(left, dtype=np.float64)
    return gram(X) if same else gram(X, np.concatenate(right, dtype=np.float64))


def _skew(terms: Array, parts: Sequence[_Factors]) -> list[bool]:
    """Say of each whether the terms of its own square cancel."""
    found = []
    stop = 0
    for part in parts:
        start, stop = stop, stop + part.rank
        block = terms[start:stop, start:stop]
        found.append(bool(np.abs(block).sum() > _SKEWED * abs(block.sum())))
    return found


def _summed(terms: Array, left: Sequence[_Factors], right: Sequence[_Factors]) -> Array:
    """Add up by blocks the terms of the right's rows with the left's; a row for each left one."""
    total = np.add.reduceat(terms, _starts(right), axis=0)
    total = np.add.reduceat(np.ascontiguousarray(total.T), _starts(left), axis=0)
    scaling = np.array([part.scaling for part in left]), np.array([part.scaling for part in right])
    return np.asarray(total * np.multiply.outer(*scaling))


def _starts(parts: Sequence[_Factors]) -> Array:
    return np.cumsum([0, *(part.rank for part in parts)])[:-1]


def _orthogonal(factors: _Factors) -> _Factors:
    """Return the same product with orthonormal rows of A (zeros beyond the rank of the shape)."""
    Q, R = np.linalg.qr(factors.A.astype(np.float64).T)
    B, A = np.zeros(factors.B.shape), np.zeros(factors.A.shape)
    B[: len(R)] = R @ factors.B.astype(np.float64)
    A[: len(R)] = Q.T
    return replace(factors, B=B, A=A)
