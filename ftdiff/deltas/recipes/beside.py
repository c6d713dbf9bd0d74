"""A tensor that works beside the base and changes none of its weights: a norm, and no ΔW."""

from __future__ import annotations

from dataclasses import dataclass

from ftdiff.deltas.forms import Delta
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.recipes.recipe import Entries, Recipe
from ftdiff.deltas.recipes.tiles import TILE
from ftdiff.errors import BadAdapter
from ftdiff.tensors import LazyTensor, numel


@dataclass(frozen=True)
class Beside:
    """A learned prompt, a router, a factor of a mixture.

    Parameters
    ----------
    tensor
        The stored values.
    why
        Why they are no change of a weight, as the end of a sentence.
    """

    tensor: LazyTensor
    why: str
    form: str = "beside"

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return None: it is no change of a base tensor, whatever its shape."""
        return None

    def tiles(self, base: LazyTensor | None) -> int:
        """Return the number of runs of `TILE` entries."""
        return tiling.count(numel(self.shape), TILE)

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Measure the stored values alone, whatever the base."""
        start, stop = tiling.span(tiles, TILE, numel(self.shape))
        with self.tensor.window(start, stop) as values:
            return tiling.alone(values, self.dtype)

    def entries(self, base: LazyTensor | None) -> Entries:
        """Raise: there are none, as `delta` says."""
        raise self._none()

    def delta(self, base: LazyTensor | None) -> Delta:
        """Raise: there is none.

        Raises
        ------
        BadAdapter
            With the reason.
        """
        raise self._none()

    def _none(self) -> BadAdapter:
        return BadAdapter(f"no weight changes, so there is no ΔW: {self.why}")


@dataclass(frozen=True)
class NewBias(Beside):
    """A bias that an adapter gives a layer without one: it goes from 0, and no merge holds it.

    Parameters
    ----------
    tensor
        The bias as it is added to the layer's output.
    """

    form: str = "new-bias"
