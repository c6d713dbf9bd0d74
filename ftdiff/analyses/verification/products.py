"""What of an adapter a replay reads: its products, with factors rounded and scaled as tools do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ftdiff.analyses.verification.replay import Source
from ftdiff.deltas.forms import Delta, LowRank
from ftdiff.deltas.recipes import Added, Entries, Product, Recipe, StoredDelta
from ftdiff.deltas.recipes.experts import ExpertProduct, StackedProduct
from ftdiff.errors import BadAdapter
from ftdiff.tensors import DTYPES, Array, LazyTensor

#: Changes that are one product, or stored: what is added is known to the last bit but one.
_PRODUCTS = (Product, StackedProduct, ExpertProduct)


@dataclass(frozen=True)
class RoundedProduct:
    """ΔW of factors that were rounded, scaled or not, before they were multiplied."""

    product: Product
    source: Source

    def make(self) -> LowRank:
        """Read the factors and round them."""
        whole = self.product.make()
        B, A = _rounded(whole.B, self.source.factors), _rounded(whole.A, self.source.factors)
        scaling = np.float32(whole.scaling)
        if self.source.scaled == "product":
            return LowRank(B, A, whole.scaling)
        if self.source.scaled == "B":
            return LowRank(_rounded(B * scaling, self.source.factors), A)
        if self.source.scaled == "A":
            return LowRank(B, _rounded(A * scaling, self.source.factors))
        return LowRank(B, A)


@dataclass(frozen=True)
class Times:
    """A change that is added so many times over."""

    recipe: Recipe
    strength: float
    dtype: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The change's shape."""
        return self.recipe.shape

    @property
    def form(self) -> str:
        """The change's form."""
        return self.recipe.form

    def entries(self, base: LazyTensor | None) -> Entries:
        """Multiply the entries that are asked for."""
        read = self.recipe.entries(base)
        return lambda start, stop: self.strength * read(start, stop)


@dataclass(frozen=True)
class Mixed:
    """The sum of what several adapters change in one tensor.

    Parameters
    ----------
    shape
        The base tensor's.
    terms
        Changes, in the order of the adapters, each with its strength in it.
    owners
        Which adapter each is of.
    """

    shape: tuple[int, ...]
    terms: tuple[Recipe, ...]
    owners: tuple[int, ...]
    form: str = "several"
    dtype: str = ""

    @property
    def view(self) -> tuple[int, int] | None:
        """Rows × columns, where the terms are laid out by them."""
        return next((v for term in self.terms if (v := getattr(term, "view", None))), None)

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return itself for its own shape."""
        return cast(Recipe, self) if shape == self.shape else None

    def tiles(self, base: LazyTensor | None) -> int:
        """Return 1: it is read by entries alone."""
        return 1

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Any:
        """Raise: a mixture is verified, not measured."""
        raise BadAdapter("several adapters at once are verified, not measured")

    def delta(self, base: LazyTensor | None) -> Delta:
        """Raise, as `moments` does."""
        raise BadAdapter("several adapters at once are verified, not measured")

    def entries(self, base: LazyTensor | None) -> Entries:
        """Add up the entries that are asked for."""
        readers = [term.entries(base) for term in self.terms]

        def read(start: int, stop: int) -> Array:
            total = readers[0](start, stop)
            for reader in readers[1:]:
                total = total + reader(start, stop)
            return total

        return read


def strengthened(recipe: Recipe, strength: float) -> Recipe:
    """Return a change with a strength in its scale."""
    if strength == 1:
        return recipe
    maker = getattr(recipe, "maker", None)
    if isinstance(recipe, Added) and isinstance(maker, _PRODUCTS):
        return replace(recipe, maker=replace(maker, scaling=maker.scaling * strength))
    return cast(Recipe, Times(recipe, strength))


def terms(recipe: Recipe) -> tuple[Recipe, ...]:
    """Return the changes that are added in turn."""
    return recipe.terms if isinstance(recipe, Mixed) else (recipe,)


def scaling(recipe: Recipe) -> float:
    """Return the scale of a product whose factors can be rounded; 1 of what is read whole."""
    maker = getattr(recipe, "maker", None)
    return maker.scaling if isinstance(maker, Product) else 1.0


def known_to_the_bit(recipe: Recipe) -> bool:
    """Say whether every order of operations that makes this change can be replayed."""
    return all(
        isinstance(term, StoredDelta) or isinstance(getattr(term, "maker", None), _PRODUCTS)
        for term in terms(recipe)
    )


def factored(recipe: Recipe) -> bool:
    """Say whether any term is a product whose factors can be rounded."""
    return any(isinstance(getattr(term, "maker", None), Product) for term in terms(recipe))


def exact_in(recipe: Recipe) -> tuple[str, ...]:
    """Return the dtypes of few bits that hold the factors, scaled by a power of two."""
    makers = [term.maker for term in terms(recipe) if isinstance(term, Added)]
    products = [maker for maker in makers if isinstance(maker, Product)]
    if not products or any(math.frexp(abs(m.scaling))[0] != 0.5 for m in products):
        return ()
    dtypes = {tensor.dtype for maker in products for tensor in (maker.A, maker.B)}
    return tuple(dtypes) if len(dtypes) == 1 else ()


def read(recipe: Recipe, base: LazyTensor, source: Source) -> Entries:
    """Open one term's product as a replay wants it; one without factors, as it is."""
    maker = getattr(recipe, "maker", None)
    if source == Source() or not isinstance(recipe, Added) or not isinstance(maker, Product):
        return recipe.entries(base)
    return replace(recipe, maker=RoundedProduct(maker, source)).entries(base)


def _rounded(values: Array, dtype: str) -> Array:
    with np.errstate(all="ignore"):
        return values.astype(DTYPES[dtype]).astype(np.float32)
