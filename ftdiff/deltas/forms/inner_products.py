"""⟨ΔWᵢ, ΔWⱼ⟩ for all pairs of many changes of one weight, none of them multiplied out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ftdiff.deltas.forms.factor_stack import LowRanks
from ftdiff.deltas.forms.hadamard import Hadamard
from ftdiff.deltas.forms.kronecker import Kronecker
from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.deltas.forms.protocol import Delta
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.deltas.forms.stacked_factors import all_products, products
from ftdiff.kernels import gram
from ftdiff.tensors import Array


def inner_products(deltas: Sequence[Delta]) -> Array:
    """Return all ⟨ΔWᵢ, ΔWⱼ⟩, NaN where two forms have no product that is cheaper than entries.

    Parameters
    ----------
    deltas
        n changes of one shape; entries that are not finite count as zero. They may be opened when
        they are asked for: products of two factors are not kept.

    Returns
    -------
    array
        float64, n × n, exactly symmetric.

    Notes
    -----
    Products of two factors: see `stacked_factors`. ⟨C₁⊗D₁, C₂⊗D₂⟩ = ⟨C₁, C₂⟩⟨D₁, D₂⟩ (Horn and
    Johnson, Topics in Matrix Analysis, §4.2). Nothing depends on how a product is split between its
    factors (B → BM, A → M⁻¹A) but rounding.

    >>> import numpy as np
    >>> e, f = np.float32([[1], [0]]), np.float32([[0], [2]])
    >>> inner_products([LowRank(e, e.T), LowRank(f, f.T), LowRank(e + f, e.T)]).tolist()
    [[1.0, 0.0, 1.0], [0.0, 16.0, 0.0], [1.0, 0.0, 5.0]]
    """
    G = np.full((len(deltas), len(deltas)), np.nan)
    alike: dict[Hashable, list[int]] = {}
    ranks = []
    for i in range(len(deltas)):
        form = _factored(deltas[i])
        alike.setdefault(_kind(form), []).append(i)
        ranks.append(form.rank if isinstance(form, LowRank) else 0)
    for kind, members in alike.items():
        product = _PRODUCTS.get(kind[0] if isinstance(kind, tuple) else kind)
        if product is not None:
            G[np.ix_(members, members)] = product(
                _Some(deltas, members, [ranks[i] for i in members])
            )
    return G


class _Some(Sequence[Any]):
    """Some of many changes, each in its cheapest form."""

    def __init__(
        self, deltas: Sequence[Delta], members: Sequence[int], ranks: Sequence[int]
    ) -> None:
        self._deltas, self._members, self.ranks = deltas, members, ranks

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: Any) -> Any:
        return _factored(self._deltas[self._members[index]])


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


def _kronecker(deltas: Sequence[Kronecker]) -> Array:
    scaling = np.array([delta.scaling for delta in deltas])
    sides = _side([delta.C for delta in deltas]) * _side([delta.D for delta in deltas])
    return np.asarray(np.multiply.outer(scaling, scaling) * sides)


def _side(deltas: Sequence[Delta]) -> Array:
    """Multiply sides of Kronecker products, which are small enough to be written out."""
    thin = [delta for delta in deltas if isinstance(delta, LowRank)]
    if len(thin) == len(deltas):
        return products(thin)
    flat = np.stack([delta.dense().reshape(-1) for delta in deltas])
    return gram(np.where(np.isfinite(flat), flat, 0))


def _stacked(deltas: Sequence[Stacked]) -> Array:
    parts = zip(*(delta.parts for delta in deltas), strict=True)
    return np.asarray(sum(products(part) for part in parts))


def _low_rank(deltas: _Some) -> Array:
    return all_products(LowRanks(deltas, deltas.ranks))[0]


_PRODUCTS: dict[Hashable, Callable[[Any], Array]] = {
    LowRank: _low_rank,
    Kronecker: _kronecker,
    Stacked: _stacked,
}
