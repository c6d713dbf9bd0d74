"""Factors of many changes, one above the other, as they are multiplied with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.kernels import row_products
from ftdiff.tensors import Array

#: The square of a row's norm below which products may be lost in float32.
_LEAST = 2.0**-104
#: How many times ‖ΔW‖² the terms of its own square may be, all taken as positive, in float32.
_SKEWED = 64


@dataclass(frozen=True, eq=False)
class Stack:
    """The factors of some changes: at least a row for each, as they are stored.

    Attributes
    ----------
    sides
        Two matrices with a row for each of the changes' ranks, and the columns of Bᵀ and of A.
    ranks, scaling
        Of each change, how many of the rows are its own, and the factor in front.
    dtype
        What the bits of both sides mean.
    """

    sides: tuple[Array, Array]
    ranks: Sequence[int]
    scaling: Array
    dtype: str = "F32"

    @property
    def starts(self) -> Array:
        """The first row of each change."""
        return np.cumsum([0, *self.ranks])[:-1]

    def terms(self, other: Stack | None = None) -> tuple[Array, Array]:
        """Return the terms of all products with another's changes, or with its own.

        Returns
        -------
        terms
            float64, a row for each row of this stack.
        safe
            Which of this stack's rows lose nothing in float32; all, with another's.
        """
        safe = np.ones(sum(self.ranks), bool)
        total = np.ones(())
        for side, its in zip(self.sides, (other or self).sides, strict=True):
            found = row_products(side, None if other is None else its, self.dtype)
            if other is None:
                safe &= _safe(side, found.diagonal())
            total = found if total.ndim == 0 else np.multiply(total, found, out=total)
        return total, safe

    def own_sq(self) -> Array:
        """Return ‖ΔW‖² of each change; NaN where float32 does not do for it."""
        found = np.full(len(self.ranks), np.nan)
        for k, (start, rank) in enumerate(zip(self.starts, self.ranks, strict=True)):
            rows = slice(start, start + rank)
            one = replace(
                self,
                sides=(self.sides[0][rows], self.sides[1][rows]),
                ranks=[rank],
                scaling=self.scaling[k : k + 1],
            )
            terms, safe = one.terms()
            if safe.all() and not cancels(terms):
                found[k] = self.scaling[k] ** 2 * terms.sum()
        return found


def cancels(own: Array) -> bool:
    """Say whether the terms of a change's own square nearly cancel, or are not finite."""
    with np.errstate(all="ignore"):
        return not bool(np.abs(own).sum() <= _SKEWED * abs(own.sum()))


def _safe(rows: Array, squares: Array) -> Array:
    """Say of which rows the square of the norm is as float32 has it, or nothing at all."""
    fine = (squares >= _LEAST) & (squares < np.inf)
    for i in np.flatnonzero(squares == 0):
        fine[i] = not rows[i].any()
    return fine


class Factored(Protocol):
    """Products of two factors, of one shape, that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every product."""

    @property
    def ranks(self) -> Sequence[int]:
        """The rank of each."""

    def stack(self, here: Sequence[int]) -> Stack:
        """Return the factors of some of them; what float32 does not hold is NaN."""

    def delta(self, index: int) -> LowRank:
        """Return one."""


class LowRanks:
    """Changes that are at hand, or are made when they are taken from a sequence.

    Parameters
    ----------
    deltas
        Each is taken when it is needed, again for each group, and not kept.
    ranks
        The rank of each, where it is known without taking it.
    """

    def __init__(self, deltas: Sequence[LowRank], ranks: Sequence[int] | None = None) -> None:
        self._deltas = deltas
        self.ranks = [delta.rank for delta in deltas] if ranks is None else ranks

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every product."""
        return self._deltas[0].shape

    def stack(self, here: Sequence[int]) -> Stack:
        """Return the factors of some of them in float32; zeros for what is not finite."""
        ranks = [max(1, self.ranks[i]) for i in here]
        sides: tuple[Array, ...] = ()
        scaling, row = [], 0
        for i, rank in zip(here, ranks, strict=True):
            delta = self._deltas[i]
            sides = sides or tuple(np.zeros((sum(ranks), n), np.float32) for n in delta.shape)
            B, A = clean(delta)
            scaling.append(delta.scaling)
            for side, factor in zip(sides, (B.T, A), strict=True):
                if factor.dtype == np.float32:
                    side[row : row + len(factor)] = factor
                else:
                    side[row : row + len(factor)] = np.nan
            row += rank
        return Stack((sides[0], sides[1]), ranks, np.array(scaling))

    def delta(self, index: int) -> LowRank:
        """Return one."""
        return self._deltas[index]


def clean(delta: LowRank) -> tuple[Array, Array]:
    """Return B and A with zeros for what makes an entry of the product other than finite."""
    if not delta.nonfinite():
        return delta.B, delta.A
    rows, columns = delta.finite()
    return np.where(rows[:, None], delta.B, 0), np.where(columns, delta.A, 0)
