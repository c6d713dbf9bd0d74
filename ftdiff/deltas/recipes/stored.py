"""A change that a file spells out entry by entry: a delta release, or a full difference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ftdiff.deltas.forms import Delta, Dense
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.recipes.recipe import Entries, Recipe, Tuned, common_rows
from ftdiff.deltas.recipes.replaced import Replaced
from ftdiff.deltas.recipes.tiles import TILE
from ftdiff.errors import BadCall
from ftdiff.tensors import Array, LazyTensor, Rows, matrix_shape, numel


@dataclass(frozen=True)
class StoredDelta:
    """ΔW = the stored values, in their own dtype.

    Parameters
    ----------
    tensor
        The change.
    sides
        The base tensor's shape, where it spells the same entries with other sides.
    """

    tensor: LazyTensor
    sides: tuple[int, ...] | None = None
    form: str = "stored"
    dtype: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The base tensor's shape."""
        return self.tensor.shape if self.sides is None else self.sides

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return itself, or the rows that both have."""
        if shape == self.shape:
            return self
        rows = common_rows(self.shape, shape) if self.sides is None else None
        return None if rows is None else replace(self, tensor=Rows(self.tensor, 0, rows))

    def tiles(self, base: LazyTensor | None) -> int:
        """Return the number of runs of `TILE` entries."""
        return tiling.count(numel(self.shape), TILE)

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Measure base and change in one fused pass; without a base, ‖ΔW‖ and Σ|ΔW|."""
        start, stop = tiling.span(tiles, TILE, numel(self.shape))
        with self.tensor.window(start, stop) as dW:
            if base is None:
                return tiling.change(dW, self.tensor.dtype)
            with base.window(start, stop) as W:
                return tiling.added(W, dW, base.dtype, self.tensor.dtype)

    def entries(self, base: LazyTensor | None) -> Entries:
        """Read the stored values."""

        def read(start: int, stop: int) -> Array:
            with self.tensor.window(start, stop) as dW:
                return dW.astype(np.float64)

        return read

    def delta(self, base: LazyTensor | None) -> Delta:
        """Return the stored values in float64."""
        return Dense(self.tensor.read().astype(np.float64).reshape(matrix_shape(self.shape)))


def as_delta(tuned: Tuned) -> Tuned:
    """Read a full checkpoint as the differences to a base: tuned weights are base + stored values.

    Raises
    ------
    BadCall
        It is an adapter, which is a change already.
    """
    if tuned.kind != "full":
        raise BadCall(
            f"{tuned.source}: a {tuned.kind} adapter is a change already; "
            "only a full checkpoint can be read as a delta release"
        )
    recipes: dict[str, Recipe] = {
        name: StoredDelta(recipe.tensor) if isinstance(recipe, Replaced) else recipe
        for name, recipe in tuned.recipes.items()
    }
    return replace(tuned, recipes=recipes, kind="delta")
