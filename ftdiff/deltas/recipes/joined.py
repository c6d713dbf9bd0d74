"""Changes of parts that the base stores as one tensor, rows under rows, as one change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from ftdiff.deltas.factor_views import BlockDiagonal
from ftdiff.deltas.forms import Delta, Dense, LowRank
from ftdiff.deltas.recipes.added import Added, Maker, Product
from ftdiff.deltas.recipes.rebuilt import Rebuilt, Rule
from ftdiff.deltas.recipes.recipe import Recipe
from ftdiff.deltas.recipes.replaced import Replaced, Unreadable
from ftdiff.deltas.recipes.stored import StoredDelta
from ftdiff.tensors import Array, LazyTensor, matrix_shape
from ftdiff.tensors.arranged import Rows, Stack


@dataclass(frozen=True)
class Part:
    """A run of rows of a joined tensor, and their change; None where nothing changes them."""

    recipe: Recipe | None
    rows: int


def joined(parts: Sequence[Part], shape: tuple[int, ...]) -> Recipe:
    """Return the change of a tensor whose rows are those of the parts, one under the other.

    Parameters
    ----------
    parts
        In the order of the rows; at least one changes.
    shape
        The joined tensor's.
    """
    given = [part.recipe for part in parts if part.recipe is not None]
    for recipe in given:
        if isinstance(recipe, Unreadable):
            return replace(recipe, shape=shape)
    whole = len(given) == len(parts) and len({recipe.dtype for recipe in given}) == 1
    if whole and all(isinstance(recipe, Replaced) for recipe in given):
        return Replaced(Stack(tuple(r.tensor for r in given if isinstance(r, Replaced))))
    if whole and all(isinstance(r, StoredDelta) and r.sides is None for r in given):
        return StoredDelta(Stack(tuple(r.tensor for r in given if isinstance(r, StoredDelta))))
    if all(isinstance(recipe, Added) and recipe.view is None for recipe in given):
        product = _product(parts)
        if product is not None:
            return Added(shape, product)
        makers = tuple((_maker(part.recipe), part.rows) for part in parts)
        forms = {recipe.form for recipe in given}
        form = forms.pop() if forms == {"low-rank"} else "dense"
        return Added(shape, JoinedRows(makers, matrix_shape(shape)[1]), form)
    forms = {recipe.form for recipe in given}
    needs = "rows of one tensor change in several ways, one of them with the base"
    return Rebuilt(
        shape, JoinedRules(tuple(parts)), forms.pop() if len(forms) == 1 else "mixed", needs
    )


def _product(parts: Sequence[Part]) -> Product | None:
    """Return one product of all the parts' factors, where they are under one scale."""
    makers = [None if part.recipe is None else _maker(part.recipe) for part in parts]
    products = [maker for maker in makers if isinstance(maker, Product)]
    first = products[0] if products else None
    if first is None or any(maker is not None and type(maker) is not Product for maker in makers):
        return None
    alike = {(p.scaling, p.A.dtype, p.B.dtype, p.A.shape[1:], p.transposed) for p in products}
    if len(alike) > 1 or first.transposed:
        return None
    B = BlockDiagonal(
        tuple(
            maker.B if isinstance(maker, Product) else part.rows
            for maker, part in zip(makers, parts, strict=True)
        )
    )
    return Product(Stack(tuple(p.A for p in products)), B, first.scaling)


def _maker(recipe: Recipe | None) -> Maker | None:
    return recipe.maker if isinstance(recipe, Added) else None


@dataclass(frozen=True)
class JoinedRows:
    """ΔW of which each run of rows has a maker of its own, or is zero.

    Parameters
    ----------
    makers
        With the number of rows of each; None for rows that do not change.
    columns
        Of all of them.

    Notes
    -----
    Products under one another are one product: of the left factors along a diagonal, and the right
    factors one under the other.
    """

    makers: tuple[tuple[Maker | None, int], ...]
    columns: int

    def make(self) -> Delta:
        """Read all parts."""
        made = [None if maker is None else maker.make() for maker, _ in self.makers]
        thin = [delta for delta in made if isinstance(delta, LowRank)]
        if len(thin) < sum(delta is not None for delta in made):
            return Dense(np.concatenate([*map(self._dense, made, self._heights())]))
        B = np.zeros((sum(self._heights()), sum(delta.rank for delta in thin)), np.float32)
        row = column = 0
        for delta, height in zip(made, self._heights(), strict=True):
            if isinstance(delta, LowRank):
                B[row : row + height, column : column + delta.rank] = delta.scaling * delta.B
                column += delta.rank
            row += height
        return LowRank(B, np.concatenate([delta.A for delta in thin]))

    def _heights(self) -> list[int]:
        return [rows for _, rows in self.makers]

    def _dense(self, delta: Delta | None, rows: int) -> Array:
        return np.zeros((rows, self.columns)) if delta is None else delta.dense()


@dataclass(frozen=True)
class JoinedRules:
    """Rules and changes of runs of rows, each of which may need the base's same rows."""

    parts: tuple[Part, ...]

    def make(self, base: LazyTensor) -> JoinedRule:
        """Open every part over its rows of the base."""
        firsts = [0, *accumulate(part.rows for part in self.parts)]
        opened = [
            _opened(part, Rows(base, first, part.rows))
            for part, first in zip(self.parts, firsts, strict=False)
        ]
        return JoinedRule(tuple(opened), tuple(firsts))


def _opened(part: Part, base: LazyTensor) -> Rule:
    if isinstance(part.recipe, Rebuilt):
        return part.recipe.maker.make(base)
    return _Entries(None if part.recipe is None else part.recipe.delta(base))


@dataclass(frozen=True, eq=False)
class _Entries:
    """The rule of a change that is had without one; None changes nothing."""

    delta: Delta | None

    def rows(self, W: Array, start: int) -> Array:
        if self.delta is None:
            return np.zeros_like(W)
        return self.delta.rows(start, start + len(W))


@dataclass(frozen=True, eq=False)
class JoinedRule:
    """The rule of `JoinedRules`."""

    rules: tuple[Rule, ...]
    firsts: tuple[int, ...]

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for these rows, from all parts that they reach over."""
        stop = start + len(W)
        pieces = []
        for rule, first, last in zip(self.rules, self.firsts, self.firsts[1:], strict=False):
            begin, end = max(start, first), min(stop, last)
            if begin < end:
                pieces.append(rule.rows(W[begin - start : end - start], begin - first))
        return np.concatenate(pieces)
