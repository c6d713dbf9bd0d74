"""A tensor whose tuned values are in a file, and one that the files promise and do not hold."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ftdiff.deltas.forms import Delta, Dense
from ftdiff.deltas.moments import NULL, Moments
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.recipes.held import is_far
from ftdiff.deltas.recipes.rebuilt import Rebuilt
from ftdiff.deltas.recipes.recipe import Entries, Recipe, common_rows
from ftdiff.deltas.recipes.tiles import TILE
from ftdiff.errors import BadAdapter
from ftdiff.formats import Quantised
from ftdiff.formats.quantised.tensor import Unpacked
from ftdiff.tensors import Array, LazyTensor, Rows, is_quantised, matrix_shape, numel


@dataclass(frozen=True)
class Replaced:
    """ΔW = tuned − base, both read from storage."""

    tensor: LazyTensor
    form: str = "dense"

    @property
    def shape(self) -> tuple[int, ...]:
        """The tuned tensor's shape."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The tuned tensor's dtype."""
        return self.tensor.dtype

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return itself, or the rows that both have."""
        if shape == self.shape:
            return self
        rows = common_rows(self.shape, shape)
        return None if rows is None else replace(self, tensor=Rows(self.tensor, 0, rows))

    def tiles(self, base: LazyTensor | None) -> int:
        """Return the number of runs of `TILE` entries."""
        return tiling.count(numel(self.shape), TILE)

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Measure base and tuned in one fused pass; the same bytes are read from one side.

        Where these lie on another machine, they are not read at all.
        """
        start, stop = tiling.span(tiles, TILE, numel(self.shape))
        if self.is_of(base) and is_far(self.tensor):  # not worth fetching
            return Moments.of_same_bytes(stop - start)
        coarse = is_quantised(self.tensor) or (base is not None and is_quantised(base))
        if base is not None and coarse and not self.is_of(base):
            return self._across_few_bits(base, start, stop)
        with self.tensor.window(start, stop) as tuned:
            if base is None:
                return tiling.alone(tuned, self.dtype)
            if self.is_of(base):
                return tiling.replaced(tuned, tuned, base.dtype, self.dtype)
            with base.window(start, stop) as W:
                return tiling.replaced(W, tuned, base.dtype, self.dtype)

    def _across_few_bits(self, base: LazyTensor, start: int, stop: int) -> Moments:
        """Measure a span of which a side is stored quantised, or both.

        Rounding to few bits is no rounding to the dtype in which they are read: it is as large as
        the cells of the codes. Whether it is in the change nothing tells here.
        """
        its, own = quantised(base), quantised(self.tensor)
        there = None if its is None else its.unpacked(start, stop)
        here = None if own is None else own.unpacked(start, stop)
        widths = [tiling.blocks(one.steps_sq()) for one in (there, here) if one is not None]
        same = there is not None and here is not None and here.same(there)
        with lent(self.tensor, here, start, stop) as tuned, ExitStack() as held:
            W = tuned if same else held.enter_context(lent(base, there, start, stop))
            found = tiling.replaced(W, tuned, base.dtype, self.dtype)
        coarse = sum(is_quantised(side) for side in (base, self.tensor))
        if len(widths) < coarse:  # a side of which the cells are not known
            return found.without("ulp_sq", NULL)
        return found.summing(**{"ulp_sq": chain(*widths), NULL: [0.0]})

    def entries(self, base: LazyTensor | None) -> Entries:
        """Read tuned − base, which of the same bytes is zero; tuned where there is no base."""
        same = self.is_of(base)

        def read(start: int, stop: int) -> Array:
            if same:
                return np.zeros(stop - start)
            with self.tensor.window(start, stop) as tuned:
                dW: Array = tuned.astype(np.float64)
            if base is not None:
                with base.window(start, stop) as W:
                    dW -= W.astype(np.float64)
            return dW

        return read

    def delta(self, base: LazyTensor | None) -> Delta:
        """Return tuned − base in float64; tuned where there is no base."""
        tuned = self.tensor.read().astype(np.float64)
        W = 0.0 if base is None else base.read().astype(np.float64)
        return Dense((tuned - W).reshape(matrix_shape(self.shape)))

    def is_of(self, base: LazyTensor | None) -> bool:
        """Say whether it is the base's own bytes, by where they are stored."""
        return (
            base is not None
            and base.storage is not None
            and base.storage == self.tensor.storage
            and base.dtype == self.dtype
        )


def quantised(tensor: LazyTensor) -> Quantised | None:
    """Return what is stored in few bits, of a tensor or of the first rows of one."""
    whole = tensor.tensor if isinstance(tensor, Rows) and not tensor.first else tensor
    return whole if isinstance(whole, Quantised) else None


def lent(
    tensor: LazyTensor, packed: Unpacked | None, start: int, stop: int
) -> AbstractContextManager[Array]:
    """Lend entries, from what is unpacked of them, if that is."""
    return tensor.window(start, stop) if packed is None else nullcontext(packed.values())


def is_saved(recipe: Recipe) -> bool:
    """Say whether a file holds values in place of the base's: a change against a base alone."""
    return isinstance(recipe, Replaced) or (
        isinstance(recipe, Rebuilt) and recipe.saved is not None
    )


@dataclass(frozen=True)
class Unreadable:
    """A change that cannot be had; measuring it says why.

    Parameters
    ----------
    shape, reason
        The base tensor's, or what is known of it; why.
    parts
        What the files hold of it.
    """

    shape: tuple[int, ...]
    reason: str
    dtype: str = ""
    form: str = "unreadable"
    parts: tuple[LazyTensor, ...] = ()

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return itself: the complaint fits any shape."""
        return self

    def tiles(self, base: LazyTensor | None) -> int:
        """Return 1: there is one complaint."""
        return 1

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Raise the complaint."""
        raise BadAdapter(self.reason)

    def entries(self, base: LazyTensor | None) -> Entries:
        """Raise the complaint."""
        raise BadAdapter(self.reason)

    def delta(self, base: LazyTensor | None) -> Delta:
        """Raise the complaint."""
        raise BadAdapter(self.reason)
