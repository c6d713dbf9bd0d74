"""⟨ΔWᵢ, ΔWⱼ⟩ for all pairs of many changes of one weight, none of them multiplied out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ftdiff.deltas.forms.hadamard import Hadamard
from ftdiff.deltas.forms.kronecker import Kronecker
from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.deltas.forms.protocol import Delta
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.kernels import gram
from ftdiff.tensors import Array

#: Factors whose Gram products exceed ‖ΔW‖² by more than this are made orthogonal first.
_SKEWED = 1e6


def inner_products(deltas: Sequence[Delta]) -> Array:
    """Return all ⟨ΔWᵢ, ΔWⱼ⟩, NaN where two forms have no product that is cheaper than entries.

    Parameters
    ----------
    deltas
        n changes of one shape; entries that are not finite count as zero.

    Returns
    -------
    array
        float64, n × n, exactly symmetric.

    Notes
    -----
    ⟨s₁B₁A₁, s₂B₂A₂⟩ = s₁s₂ Σ (B₁ᵀB₂ ∘ A₁A₂ᵀ): with all factors stacked, two Gram matrices whose
    entrywise product is added up by blocks. ⟨C₁⊗D₁, C₂⊗D₂⟩ = ⟨C₁, C₂⟩⟨D₁, D₂⟩ (Horn and Johnson,
    Topics in Matrix Analysis, §4.2). Nothing depends on how a product is split between its
    factors (B → BM, A → M⁻¹A) but rounding.

    >>> import numpy as np
    >>> e, f = np.float32([[1], [0]]), np.float32([[0], [2]])
    >>> inner_products([LowRank(e, e.T), LowRank(f, f.T), LowRank(e + f, e.T)]).tolist()
    [[1.0, 0.0, 1.0], [0.0, 16.0, 0.0], [1.0, 0.0, 5.0]]
    """
    forms = [_factored(delta) for delta in deltas]
    G = np.full((len(forms), len(forms)), np.nan)
    alike: dict[Hashable, list[int]] = {}
    for i, form in enumerate(forms):
        alike.setdefault(_kind(form), []).append(i)
    for kind, members in alike.items():
        product = _PRODUCTS.get(kind[0] if isinstance(kind, tuple) else kind)
        if product is not None:
            G[np.ix_(members, members)] = product([forms[i] for i in members])
    return G


def _factored(delta: Delta) -> Delta:
    """Return a change as one product of two factors where that is its cheapest form."""
    if isinstance(delta, Hadamard):
        return delta.factored() or delta
    return delta


def _kind(delta: Delta) -> Hashable:
    """Return what two changes have in common whose inner product has a closed form."""
    if isinstance(delta, Kronecker):
        return Kronecker, delta.C.shape, delta.D.shape
    if isinstance(delta, Stacked):
        return Stacked, len(delta.parts)
    return type(delta)


def _low_rank(deltas: Sequence[LowRank]) -> Array:
    """Add up by blocks what the stacked factors give for every pair of their rows."""
    parts = _of_one_dtype([_finite(delta) for delta in deltas])
    terms = _terms(parts)
    own = np.abs(np.array([block.sum() for block in _diagonal(terms, parts)]))
    size = np.array([np.abs(block).sum() for block in _diagonal(terms, parts)])
    skewed = size > _SKEWED * own
    if (
        skewed.any()
    ):  # a product that is small beside its factors: rounding would be all that is left
        parts = [
            _orthogonal(p) if bad else _double(p) for p, bad in zip(parts, skewed, strict=True)
        ]
        terms = _terms(parts)
    starts = np.cumsum([0, *(part.rank for part in parts)])[:-1]
    summed = np.add.reduceat(terms, starts, axis=0)
    G = np.add.reduceat(np.ascontiguousarray(summed.T), starts, axis=0)
    scaling = np.array([delta.scaling for delta in deltas])
    G *= np.multiply.outer(scaling, scaling)
    return np.asarray(np.triu(G) + np.triu(G, 1).T)


def _terms(parts: Sequence[LowRank]) -> Array:
    terms = gram(np.concatenate([part.A for part in parts]))
    terms *= gram(np.ascontiguousarray(np.concatenate([part.B for part in parts], axis=1).T))
    return terms


def _diagonal(terms: Array, parts: Sequence[LowRank]) -> list[Array]:
    stops = np.cumsum([part.rank for part in parts]).tolist()
    return [terms[b - p.rank : b, b - p.rank : b] for b, p in zip(stops, parts, strict=True)]


def _finite(delta: LowRank) -> LowRank:
    """Return factors of rank 1 at least, with zeros for what is not finite."""
    rank = max(1, delta.rank)
    B = np.zeros((delta.shape[0], rank), delta.B.dtype)
    A = np.zeros((rank, delta.shape[1]), delta.A.dtype)
    rows, columns = delta.finite()
    B[:, : delta.rank] = np.where(rows[:, None], delta.B, 0)
    A[: delta.rank] = np.where(columns, delta.A, 0)
    return LowRank(B, A, delta.scaling)


def _of_one_dtype(parts: Sequence[LowRank]) -> Sequence[LowRank]:
    return parts if len({part.A.dtype for part in parts}) == 1 else [_double(p) for p in parts]


def _double(delta: LowRank) -> LowRank:
    return LowRank(delta.B.astype(np.float64), delta.A.astype(np.float64), delta.scaling)


def _orthogonal(delta: LowRank) -> LowRank:
    """Return the same product with orthonormal rows of A (zeros beyond the rank of the shape)."""
    Q, R = np.linalg.qr(delta.A.astype(np.float64).T)
    B, A = np.zeros(delta.B.shape), np.zeros(delta.A.shape)
    B[:, : R.shape[0]] = delta.B.astype(np.float64) @ R.T
    A[: R.shape[0]] = Q.T
    return LowRank(B, A, delta.scaling)


def _kronecker(deltas: Sequence[Kronecker]) -> Array:
    scaling = np.array([delta.scaling for delta in deltas])
    sides = _side([delta.C for delta in deltas]) * _side([delta.D for delta in deltas])
    return np.asarray(np.multiply.outer(scaling, scaling) * sides)


def _side(deltas: Sequence[Delta]) -> Array:
    """Multiply sides of Kronecker products, which are small enough to be written out."""
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) == len(deltas):
        return _low_rank(thin)
    flat = np.stack([delta.dense().reshape(-1) for delta in deltas])
    return gram(np.where(np.isfinite(flat), flat, 0))


def _stacked(deltas: Sequence[Stacked]) -> Array:
    parts = zip(*(delta.parts for delta in deltas), strict=True)
    return np.asarray(sum(_low_rank(part) for part in parts))


_PRODUCTS: dict[Hashable, Callable[[Sequence[Any]], Array]] = {
    LowRank: _low_rank,
    Kronecker: _kronecker,
    Stacked: _stacked,
}
