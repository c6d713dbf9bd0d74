"""⟨ΔWᵢ, ΔWⱼ⟩ of products of two factors in float64, for those whose terms nearly cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.deltas.forms.factor_stack import clean
from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.kernels import gram, stacked_gram, transposed
from ftdiff.tensors import Array

#: Factors whose Gram products exceed ‖ΔW‖² by more than this are made orthogonal first.
_SKEWED = 1e6


@dataclass(frozen=True, eq=False)
class Factors:
    """Bᵀ and A, r rows each (at least one), finite, of one dtype: float32 or float64."""

    B: Array
    A: Array
    scaling: float

    @property
    def rank(self) -> int:
        """How many rows there are."""
        return len(self.A)


def factors(delta: LowRank) -> Factors:
    """Return factors of rank 1 at least, with zeros for what is not finite."""
    B, A = clean(delta)
    if not delta.rank:
        B, A = np.zeros((len(B), 1), B.dtype), np.zeros((1, A.shape[1]), A.dtype)
    single = A.dtype == B.dtype == np.float32
    B = transposed(B) if single else np.ascontiguousarray(B.T, np.float64)
    found = Factors(B, np.ascontiguousarray(A, B.dtype), delta.scaling)
    # A product that is small beside its factors: rounding would be all that is left.
    return _orthogonal(found) if _is_skewed(_terms(own := [found], own)) else found


def products(left: Sequence[Factors], right: Sequence[Factors]) -> tuple[Array, Array]:
    """Return ⟨ΔWᵢ, ΔWⱼ⟩, a row for each of the left: added up by the right's rows first, and by
    the left's.
    """
    terms = _terms(right, left)
    scaling = np.multiply.outer([part.scaling for part in left], [part.scaling for part in right])
    by_right = summed(summed(terms, _starts(right)).T, _starts(left))
    by_left = summed(summed(terms.T, _starts(left)).T, _starts(right)).T
    return by_right * scaling, by_left * scaling


def summed(terms: Array, starts: Array) -> Array:
    """Add up runs of rows."""
    return np.asarray(np.add.reduceat(np.ascontiguousarray(terms), starts, axis=0))


def _terms(left: Sequence[Factors], right: Sequence[Factors]) -> Array:
    """Return B₁ᵀB₂ ∘ A₁A₂ᵀ of the stacks: a row for each one of the left."""
    terms = _gram([one.A for one in left], [one.A for one in right], left is right)
    terms *= _gram([one.B for one in left], [one.B for one in right], left is right)
    return terms


def _gram(left: list[Array], right: list[Array], same: bool) -> Array:
    if all(one.dtype == np.float32 for one in (*left, *right)):
        return stacked_gram(left, None if same else right)
    X = np.concatenate(left, dtype=np.float64)
    return gram(X) if same else gram(X, np.concatenate(right, dtype=np.float64))


def _is_skewed(own: Array) -> bool:
    return bool(np.abs(own).sum() > _SKEWED * abs(own.sum()))


def _starts(parts: Sequence[Factors]) -> Array:
    return np.cumsum([0, *(part.rank for part in parts)])[:-1]


def _orthogonal(factors: Factors) -> Factors:
    """Return the same product with orthonormal rows of A (zeros beyond the rank of the shape)."""
    Q, R = np.linalg.qr(factors.A.astype(np.float64).T)
    B, A = np.zeros(factors.B.shape), np.zeros(factors.A.shape)
    B[: len(R)] = R @ factors.B.astype(np.float64)
    A[: len(R)] = Q.T
    return replace(factors, B=B, A=A)
