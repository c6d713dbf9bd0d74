"""A second pass over what was hardly more than rescaled, so that its turn is no dust.

Few tensors ever need it; the others are not read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from ftdiff.comparison import executors, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import Change
from ftdiff.comparison.progress import Progress
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import TILE, Added, Entries
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.rescaling import settled, stretch
from ftdiff.errors import attempt
from ftdiff.tensors import Array, matrix_shape, numel

#: Bytes that a tile holds: three arrays in float64.
HELD = 24 * TILE
#: Entries that one task reads.
_TASK = 64 * TILE


@dataclass(frozen=True)
class Span:
    """Runs of rows of one change, from which the base is taken `factor` times."""

    index: int
    change: Change
    factor: float
    tiles: range

    @property
    def asked(self) -> tuple[Change, float]:
        """What its sums are kept under, by its tiles."""
        return self.change, self.factor


def refined(
    changes: Sequence[Change],
    outcomes: Sequence[Moments | str],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Moments | str]:
    """Return the same outcomes, with `turned_sq` where a tensor was hardly more than rescaled.

    Parameters
    ----------
    changes, outcomes
        What was measured, and the sums of each, or why it could not be read.
    executor, progress
        As in `ftdiff.compare`.
    """
    tasks = list(_tasks(changes, outcomes))
    if not tasks:
        return list(outcomes)
    found: dict[int, Moments] = {}
    failed = set()
    parts = executors.run(_SECOND, tasks, executor, progress)
    for span, part in zip(chain.from_iterable(tasks), parts, strict=True):
        if isinstance(part, str):  # the first pass read it, and its sums stand
            failed.add(span.index)
        else:
            found[span.index] = found.get(span.index, Moments()) + part
    settling = list(outcomes)
    for index, second in found.items():
        first = outcomes[index]
        if index not in failed and isinstance(first, Moments):
            settling[index] = settled(first, second)
    return settling


def measure(span: Span) -> Moments | str:
    """Measure ‖R‖² and ⟨W, R⟩ of R = ΔW − factor · W on a worker, or say what cannot be read."""
    return attempt(span.change.address.name, partial(_residual, span))


def _name(span: Span) -> str:
    return span.change.address.name


def _cost(span: Span) -> int:
    return span.change.size * len(span.tiles) // max(1, _tiles(span.change))


def _held(span: Span) -> int:
    return max(HELD, windows.window(span.change.base, span.change.recipe))


_SECOND = Work("rescaled tensors", measure, _name, _cost, memory=_held)


def _residual(span: Span) -> Moments:
    """Form R in float64 a tile at a time; cut by position, so that no bit depends on the tasks."""
    base = span.change.base
    assert base is not None
    read, step, size = _entries(span.change), _step(span.change), numel(span.change.recipe.shape)
    total = Moments()
    for tile in span.tiles:
        start, stop = tile * step, min((tile + 1) * step, size)
        with base.window(start, stop) as W:
            R = read(start, stop) - span.factor * W.astype(np.float64)
            total += tiling.added(W, R, base.dtype, "F64")
    return total.only("delta_sq", "inner")


def _entries(change: Change) -> Entries:
    """Open ΔW; a product of two factors is multiplied out in float64, not in float32."""
    recipe = change.recipe
    delta = recipe.delta(change.base) if isinstance(recipe, Added) else None
    if not isinstance(delta, LowRank):
        return recipe.entries(change.base)
    columns = delta.shape[1]
    B, A = delta.scaling * delta.B.astype(np.float64), delta.A.astype(np.float64)

    def read(start: int, stop: int) -> Array:
        first, last = tiling.enclosing(start, stop, columns)
        dW: Array = (B[first:last] @ A).reshape(-1)
        return dW[start - first * columns : stop - first * columns]

    return read


def _step(change: Change) -> int:
    """Return the entries of a tile: whole rows, where rows are no longer than that."""
    columns = max(1, matrix_shape(change.recipe.shape)[1])
    return columns * tiling.rows_per_tile(columns) if columns <= TILE else TILE


def _tiles(change: Change) -> int:
    return tiling.count(numel(change.recipe.shape), _step(change))


def _tasks(
    changes: Sequence[Change], outcomes: Sequence[Moments | str]
) -> Iterator[tuple[Span, ...]]:
    """Cut large tensors and bundle small ones: tasks of about `_TASK` entries."""
    task: list[Span] = []
    size = 0
    for span in _spans(changes, outcomes):
        task.append(span)
        size += len(span.tiles) * _step(span.change)
        if size >= _TASK:
            yield tuple(task)
            task, size = [], 0
    if task:
        yield tuple(task)


def _spans(changes: Sequence[Change], outcomes: Sequence[Moments | str]) -> Iterator[Span]:
    for index, (change, outcome) in enumerate(zip(changes, outcomes, strict=True)):
        factor = stretch(outcome) if isinstance(outcome, Moments) else None
        if factor is None or change.base is None:
            continue
        tiles, each = _tiles(change), max(1, _TASK // _step(change))
        for first in range(0, tiles, each):
            yield Span(index, change, factor, range(first, min(first + each, tiles)))
