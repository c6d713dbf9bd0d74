"""Changes of stacked experts, made from one pair of factors for all: r-major, the expert last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.deltas.recipes.added import matrix
from ftdiff.tensors import Array, LazyTensor


@dataclass(frozen=True)
class StackedProduct:
    """ΔW of every expert e: scaling · B_e A_e, or its transpose, stacked.

    Parameters
    ----------
    A, B
        (experts · r) × in, expert by expert, and out × (r · experts), the expert counting fastest.
    scaling
        α/r or α/√r.
    experts
        How many.
    transposed
        Each expert is stored in × out.

    Notes
    -----
    The layout is that of PEFT's `target_parameters`.
    """

    A: LazyTensor
    B: LazyTensor
    scaling: float
    experts: int
    transposed: bool = False

    def make(self) -> Stacked:
        """Read both factors and cut them into the experts'."""
        A, B = matrix(self.A), matrix(self.B)
        parts = [_expert(A, B, self.experts, e) for e in range(self.experts)]
        if self.transposed:
            parts = [(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)) for b, a in parts]
        return Stacked([LowRank(b, a, self.scaling) for b, a in parts])


@dataclass(frozen=True)
class ExpertProduct:
    """ΔW of a run of rows of one expert, which the base stores apart.

    Parameters
    ----------
    A, B, scaling, experts
        As in `StackedProduct`.
    expert
        Which one.
    first, rows
        The run of the expert's rows.
    """

    A: LazyTensor
    B: LazyTensor
    scaling: float
    experts: int
    expert: int
    first: int
    rows: int

    def make(self) -> LowRank:
        """Cut one expert out of the factors, which are read once for all of them."""
        B, A = _expert(*_factors(self.A, self.B), self.experts, self.expert)
        return LowRank(B[self.first : self.first + self.rows], A, self.scaling)


@lru_cache(maxsize=4)
def _factors(A: LazyTensor, B: LazyTensor) -> tuple[Array, Array]:
    return matrix(A), matrix(B)


def _expert(A: Array, B: Array, experts: int, expert: int) -> tuple[Array, Array]:
    """Return B_e (out × r) and A_e (r × in)."""
    rank = len(A) // experts
    mine = B.reshape(len(B), rank, experts)[:, :, expert]
    return np.ascontiguousarray(mine), A[expert * rank : (expert + 1) * rank]
