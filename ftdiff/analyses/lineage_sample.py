"""A sample of candidates for a parent: a tile from the middle of tensors all over each model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias
from zlib import crc32

from ftdiff.comparison import executors, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import Change, Plan, pair
from ftdiff.comparison.progress import Progress
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import Mismatch, attempt
from ftdiff.formats import Checkpoint

#: Tensors of a candidate that the sample reads a tile of, and how many tiles are one task.
_DRAWN, _BUNDLE = 64, 8

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What a sample of one candidate gave.

    Attributes
    ----------
    coverage
        The share of the parameters that both have.
    tiles
        Facts and sums of every tile.
    unreadable
        Why the others could not be read.
    """

    coverage: float
    tiles: tuple[Row, ...]
    unreadable: tuple[str, ...]


def sample(
    candidates: Sequence[Checkpoint],
    tuned: Tuned,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Sample | None]:
    """Measure a few tiles of every candidate; None where no tensor is in common."""
    plans = [_plan(candidate, tuned) for candidate in candidates]
    drawn = [[] if plan is None else _drawn(plan) for plan in plans]
    tasks = [mine[i : i + _BUNDLE] for mine in drawn for i in range(0, len(mine), _BUNDLE)]
    outcomes = iter(executors.run(_TILES, tasks, executor, progress))
    samples: list[Sample | None] = []
    for plan, mine in zip(plans, drawn, strict=True):
        if plan is None:
            samples.append(None)
            continue
        tried = [next(outcomes) for _ in mine]
        tiles = tuple(tile for tile in tried if not isinstance(tile, str))
        unreadable = tuple(why for why in tried if isinstance(why, str))
        samples.append(Sample(plan.coverage, tiles, unreadable))
    return samples


def _plan(candidate: Checkpoint, tuned: Tuned) -> Plan | None:
    try:
        return pair(candidate, tuned)
    except Mismatch:
        return None


def _drawn(plan: Plan) -> list[Change]:
    """Draw by a hash of the name: a stride would meet the same few components in every layer."""
    return sorted(plan.changes, key=lambda change: crc32(change.address.name.encode()))[:_DRAWN]


def _tile(change: Change) -> Row | str:
    return attempt(change.address.name, lambda: _measured(change))


def _measured(change: Change) -> Row:
    middle = change.recipe.tiles(change.base) // 2
    moments = change.recipe.moments(change.base, range(middle, middle + 1))
    facts: Row = {"shape": change.recipe.shape, "tuned_dtype": change.recipe.dtype}
    facts |= {"base_dtype": change.base.dtype if change.base is not None else None}
    return {**facts, **moments.row(), "numel": moments.numel}


def _cost(change: Change) -> int:
    return change.size // max(1, change.recipe.tiles(change.base))


def _held(change: Change) -> int:
    return windows.window(change.base, change.recipe)


_TILES: Work[Change, Row | str] = Work(
    "sampling", _tile, name=attrgetter("address.name"), cost=_cost, memory=_held
)
