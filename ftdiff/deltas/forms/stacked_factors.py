"""⟨ΔWᵢ, ΔWⱼ⟩ of many products of two factors, from two Gram matrices of all factors stacked.

⟨s₁B₁A₁, s₂B₂A₂⟩ = s₁s₂ Σ (B₁ᵀB₂ ∘ A₁A₂ᵀ). Of wide weights the Gram matrices are of chains in
float32, which err by some 1e-8 of the terms; a change whose own terms cancel, or that float32 does
not hold, is held against all others in float64 instead, as those of narrow weights are. The stack
is cut into groups, so that memory does not grow with the number of changes; neither the cut nor who
else is in the stack changes a bit of a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ftdiff.deltas.forms import precise_products
from ftdiff.deltas.forms.factor_stack import Factored, LowRanks, Stack, cancels
from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.tensors import Array

#: Rows and columns of a weight, added, below which float64 costs little.
_WIDE = 2048
#: Rows of stacked factors of which products are held at a time.
_STACKED = 800


def products(deltas: Sequence[LowRank]) -> Array:
    """Return all ⟨ΔWᵢ, ΔWⱼ⟩ of products at hand; see `all_products`."""
    return all_products(LowRanks(deltas))[0]


def all_products(changes: Factored) -> tuple[Array, list[int]]:
    """Return all ⟨ΔWᵢ, ΔWⱼ⟩, n × n float64, exactly symmetric.

    Parameters
    ----------
    changes
        Products of one shape; entries that are not finite count as zero.

    Returns
    -------
    products
        float64, n × n.
    careful
        Those that were taken in float64, in order: of all others every entry is finite, unless
        `changes` has set zeros for what is not.
    """
    ranks = changes.ranks
    G = np.zeros((len(ranks), len(ranks)))
    careful = [*range(len(ranks))]
    if len(ranks) and is_wide(changes.shape):
        careful = _in_float32(G, changes)
    groups = [*_some(ranks, careful)]
    easy = [i for i in range(len(ranks)) if i not in {*careful}]
    for number, here in enumerate(groups):
        right = [precise_products.factors(changes.delta(i)) for i in here]
        for there in (*_some(ranks, easy), *groups[: number + 1]):
            same = there is here
            left = right if same else [precise_products.factors(changes.delta(i)) for i in there]
            by_right, by_left = precise_products.products(left, right)
            for k, j in enumerate(here):  # of a pair the later one's rows are added up first
                for m, i in enumerate(there):
                    G[min(i, j), max(i, j)] = (by_right if i <= j else by_left)[m, k]
    return np.asarray(np.triu(G) + np.triu(G, 1).T), careful


def is_wide(shape: tuple[int, int]) -> bool:
    """Say whether products of changes of this shape are taken in float32 where that does."""
    return sum(shape) >= _WIDE


def _in_float32(G: Array, changes: Factored) -> list[int]:
    """Set the products of all pairs; return for whom float32 does not do."""
    groups = [*_groups(changes.ranks)]
    careful: list[int] = []
    for number, here in enumerate(groups):
        right = changes.stack(here)
        own, safe = right.terms()
        careful += [here[k] for k in _cancelling(own, safe, right)]
        G[np.ix_(here, here)] = _summed(own, right, right)
        for there in groups[:number]:
            left = changes.stack(there)
            G[np.ix_(there, here)] = _summed(right.terms(left)[0], left, right)
    return careful


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


def _some(ranks: Sequence[int], chosen: Sequence[int]) -> list[list[int]]:
    return [[chosen[i] for i in group] for group in _groups([ranks[i] for i in chosen])]


def _cancelling(terms: Array, safe: Array, stack: Stack) -> Iterator[int]:
    """Yield the changes that are to be taken in float64."""
    for k, (start, rank) in enumerate(zip(stack.starts, stack.ranks, strict=True)):
        own = slice(start, start + rank)
        if not safe[own].all() or cancels(terms[own, own]):
            yield k


def _summed(terms: Array, left: Stack, right: Stack) -> Array:
    """Add up by blocks the terms of the right's rows with the left's; a row for each left one."""
    with np.errstate(all="ignore"):
        total = precise_products.summed(terms, right.starts)
        total = precise_products.summed(total.T, left.starts)
        return total * np.multiply.outer(left.scaling, right.scaling)
