"""Embeddings row by row: tokens that both vocabularies have, and those of one side only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ftdiff.analyses.parts.sums import Lines
from ftdiff.comparison.alignment.gathered_rows import GatheredRows, gathered
from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.statuses import ADDED, REMOVED
from ftdiff.deltas.recipes import Replaced
from ftdiff.naming import Address
from ftdiff.tensors import LazyTensor

_COMPONENTS = ("embed.tokens", "head.lm")


class Run(NamedTuple):
    """Rows of an embedding that share a fate: "" where their sums tell it."""

    change: Change
    numbers: Sequence[int]
    status: str


def runs(plan: Plan) -> Iterator[Run]:
    """Find the embeddings: rows of both sides, then those that one side alone has."""
    base, tuned = plan.base, plan.tuned
    for change in plan.changes:
        address, shape = change.address, change.recipe.shape
        if address.component not in _COMPONENTS or len(shape) != 2 or address.param != "weight":
            continue
        yield Run(change, _numbers(change), "")
        if base is None or tuned is None or address.name not in plan.reshaped:
            continue
        recipe = tuned.recipes[address.name]
        whole = base.tensors[address.name]
        if isinstance(recipe, Replaced):
            yield from _rest(address, recipe.tensor, _numbers(change), ADDED)
        held = change.base.numbers if isinstance(change.base, GatheredRows) else range(shape[0])
        yield from _rest(address, whole, held, REMOVED)


def _numbers(change: Change) -> Sequence[int]:
    """Return the number that each row of a change has in the tuned vocabulary."""
    recipe = change.recipe
    if isinstance(recipe, Replaced) and isinstance(recipe.tensor, GatheredRows):
        return [*map(int, recipe.tensor.numbers)]
    return range(recipe.shape[0])


def _rest(address: Address, whole: LazyTensor, held: Iterable[int], status: str) -> Iterator[Run]:
    """Yield the rows of one side that the other has none for."""
    known = {int(row) for row in held}
    rest = [row for row in range(whole.shape[0]) if row not in known]
    if rest:
        rows = gathered(whole, np.array(rest, np.int64))
        yield Run(Change(address, None, Replaced(rows)), rest, status)


def renamed(found: Lines, status: str) -> Lines:
    """Call what was measured of removed rows the base's."""
    if status != REMOVED:
        return found
    sums = np.full_like(found.sums, np.nan)
    for here, there in (("base_sq", "tuned_sq"), ("nonfinite_base", "nonfinite_tuned")):
        sums[:, Lines.place(here)] = found.column(there)
    return Lines(sums, found.numel)
