"""Embeddings row by row: tokens that both vocabularies have, and those of one side only."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ftdiff.analyses.parts.sums import Lines
from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.statuses import ADDED, REMOVED
from ftdiff.deltas.recipes import Replaced
from ftdiff.tensors import Array, LazyTensor, numel

_COMPONENTS = ("embed.tokens", "head.lm")


class Run(NamedTuple):
    """Rows of an embedding that share a fate: "" where their sums tell it."""

    change: Change
    first: int
    status: str


def runs(plan: Plan) -> Iterator[Run]:
    """Find the embeddings: rows of both sides, then those that one side alone has."""
    base, tuned = plan.base, plan.tuned
    for change in plan.changes:
        address, shape = change.address, change.recipe.shape
        if address.component not in _COMPONENTS or len(shape) != 2 or address.param != "weight":
            continue
        yield Run(change, 0, "")
        if base is None or tuned is None or address.name not in plan.reshaped:
            continue
        recipe = tuned.recipes[address.name]
        whole, common = base.tensors[address.name], shape[0]
        if isinstance(recipe, Replaced) and recipe.shape[0] > common:
            more = Replaced(Below(recipe.tensor, common))
            yield Run(Change(address, None, more), common, ADDED)
        if whole.shape[0] > common:
            fewer = Replaced(Below(whole, common))
            yield Run(Change(address, None, fewer), common, REMOVED)


def renamed(found: Lines, status: str) -> Lines:
    """Call what was measured of removed rows the base's."""
    if status != REMOVED:
        return found
    sums = np.full_like(found.sums, np.nan)
    for here, there in (("base_sq", "tuned_sq"), ("nonfinite_base", "nonfinite_tuned")):
        sums[:, Lines.place(here)] = found.column(there)
    return Lines(sums, found.numel)


@dataclass(frozen=True)
class Below:
    """The rows of a tensor from one on: what a grown vocabulary has more."""

    tensor: LazyTensor
    first: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape, with fewer rows."""
        return self.tensor.shape[0] - self.first, *self.tensor.shape[1:]

    @property
    def dtype(self) -> str:
        """The tensor's dtype."""
        return self.tensor.dtype

    @property
    def storage(self) -> Hashable:
        """Nothing is claimed: the bytes begin inside of the tensor's."""
        return None

    def read(self, rows: slice = slice(None)) -> Array:
        """Return a copy of these rows."""
        start, stop, step = rows.indices(self.shape[0])
        return self.tensor.read(slice(start + self.first, stop + self.first, step))

    def window(self, start: int, stop: int) -> AbstractContextManager[Array]:
        """Lend elements, counted from the first row."""
        offset = self.first * numel(self.tensor.shape[1:])
        return self.tensor.window(start + offset, stop + offset)
