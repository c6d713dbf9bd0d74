"""Factors of stacked experts, a pair for each: experts × r × in and experts × out × r."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Reading
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.tensors import LazyTensor


@dataclass(frozen=True)
class Experts:
    """ΔW of every expert e: scaling · B_e A_e, stacked; with one expert named, its own.

    Parameters
    ----------
    A, B
        experts × r × in and experts × out × r.
    scaling
        The factor in front.
    expert
        The only one wanted.
    """

    A: LazyTensor
    B: LazyTensor
    scaling: float
    expert: int | None = None

    def make(self) -> Stacked | LowRank:
        """Read the factors of the experts that are wanted, as float32."""
        if self.expert is not None:
            return self._one(self.expert)
        return Stacked([self._one(e) for e in range(self.A.shape[0])])

    def _one(self, expert: int) -> LowRank:
        row = slice(expert, expert + 1)
        A, B = (tensor.read(row)[0].astype(np.float32) for tensor in (self.A, self.B))
        return LowRank(B, A, self.scaling)


def fits(A: LazyTensor, B: LazyTensor) -> bool:
    """Say whether two factors are stacks that multiply."""
    if len(A.shape) != 3 or len(B.shape) != 3 or not A.shape[0]:
        return False
    return A.shape[0] == B.shape[0] and A.shape[1] == B.shape[2]


def reading(
    names: Sequence[str], A: LazyTensor, B: LazyTensor, scaling: float, origin: str
) -> Reading:
    """Return the recipe of one stacked tensor, or of each expert's own.

    Parameters
    ----------
    names
        The base's name of the stack, or of every expert in order.
    A, B, scaling, origin
        The factors, and the factor in front in a number and in words.
    """
    count, out, into = A.shape[0], B.shape[1], A.shape[2]
    recipes: dict[str, Recipe]
    if len(names) == 1:
        stack = Added((count, out, into), Experts(A, B, scaling), view=(count * out, into))
        recipes = {names[0]: stack}
    else:
        each = (Added((out, into), Experts(A, B, scaling, e)) for e in range(count))
        recipes = dict(zip(names, each, strict=True))
    return Reading(recipes, dict.fromkeys(recipes, origin))
