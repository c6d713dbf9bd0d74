"""The same change where its tensor is stored otherwise: rows in another order, turned, reshaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.deltas.factor_views import Picked
from ftdiff.deltas.forms import Delta, Dense, LowRank
from ftdiff.deltas.recipes.added import Added, Maker, Product
from ftdiff.deltas.recipes.recipe import Recipe
from ftdiff.deltas.recipes.replaced import Replaced, Unreadable
from ftdiff.deltas.recipes.stored import StoredDelta
from ftdiff.tensors import Array, LazyTensor, matrix_shape
from ftdiff.tensors.arranged import Reshaped, Rows, Stack
from ftdiff.tensors.turned import Turned

#: First row and number of rows.
Span = tuple[int, int]


def reordered(recipe: Recipe, spans: Sequence[Span]) -> Recipe:
    """Return a change with its rows as the base stores them.

    Parameters
    ----------
    spans
        Runs of the change's rows, in the base's order.
    """
    spans = tuple(spans)
    if isinstance(recipe, Replaced):
        return replace(recipe, tensor=_stacked(recipe.tensor, spans))
    if isinstance(recipe, StoredDelta) and recipe.sides is None:
        return replace(recipe, tensor=_stacked(recipe.tensor, spans))
    if isinstance(recipe, Added) and recipe.view is None:
        maker = recipe.maker
        if isinstance(maker, Product) and not maker.transposed:
            return replace(recipe, maker=replace(maker, B=Picked(maker.B, spans)))
        return replace(recipe, maker=Reordered(maker, spans))
    return _not_computed(recipe)


def turned(recipe: Recipe) -> Recipe:
    """Return a change of a matrix that the base stores as the transpose."""
    shape = recipe.shape[::-1]
    if isinstance(recipe, Replaced):
        return replace(recipe, tensor=Turned(recipe.tensor))
    if isinstance(recipe, StoredDelta) and recipe.sides is None:
        return replace(recipe, tensor=Turned(recipe.tensor))
    if isinstance(recipe, Added) and recipe.view is None:
        maker = recipe.maker
        if isinstance(maker, Product):
            maker = replace(maker, transposed=not maker.transposed)
            return replace(recipe, shape=shape, maker=maker)
        return replace(recipe, shape=shape, maker=TurnedRows(maker))
    return replace(_not_computed(recipe), shape=shape)


def reshaped(recipe: Recipe, shape: tuple[int, ...]) -> Recipe:
    """Return a change of a tensor whose entries the base stores the same, with other sides."""
    if shape == recipe.shape:
        return recipe
    if isinstance(recipe, Replaced):
        return replace(recipe, tensor=Reshaped(recipe.tensor, shape))
    if isinstance(recipe, StoredDelta) and recipe.sides is None:
        return replace(recipe, sides=shape)
    if isinstance(recipe, Added) and matrix_shape(shape) == matrix_shape(recipe.shape):
        return replace(recipe, shape=shape)
    return replace(_not_computed(recipe), shape=shape)


def _not_computed(recipe: Recipe) -> Unreadable:
    if isinstance(recipe, Unreadable):
        return recipe
    reason = "the base stores the rows otherwise than the adapter: this kind is not computed then"
    return Unreadable(recipe.shape, reason, recipe.dtype)


def _stacked(tensor: LazyTensor, spans: Sequence[Span]) -> LazyTensor:
    return Stack(tuple(Rows(tensor, first, count) for first, count in spans))


@dataclass(frozen=True)
class Reordered:
    """ΔW with its rows in another order."""

    maker: Maker
    spans: tuple[Span, ...]

    def make(self) -> Delta:
        """Read it."""
        made = self.maker.make()
        rows: Array = np.concatenate([np.arange(f, f + count) for f, count in self.spans])
        if isinstance(made, LowRank):
            return LowRank(np.ascontiguousarray(made.B[rows]), made.A, made.scaling)
        return Dense(made.dense()[rows])


@dataclass(frozen=True)
class TurnedRows:
    """The transpose of ΔW."""

    maker: Maker

    def make(self) -> Delta:
        """Read it."""
        made = self.maker.make()
        if isinstance(made, LowRank):
            return made.transposed()
        return Dense(np.ascontiguousarray(made.dense().T))
