"""Measure lines of many changes on any `concurrent.futures.Executor`, a change for each task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future, as_completed

from ftdiff.analyses.parts.sums import Lines, measure
from ftdiff.comparison.engine import Progress
from ftdiff.comparison.plan import Change
from ftdiff.comparison.threads import pool
from ftdiff.errors import attempt
from ftdiff.tensors import nbytes, numel


def measured(
    tasks: Sequence[tuple[Change, int]],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Lines | str]:
    """Measure changes along an axis each: lines, or the complaint where one cannot be read."""
    if executor is not None:
        return _gathered(tasks, executor, progress)
    with pool() as threads:
        return _gathered(tasks, threads, progress)


def _lines(change: Change, axis: int) -> Lines | str:
    return attempt(change.address.name, lambda: measure(change, axis))


def _gathered(
    tasks: Iterable[tuple[Change, int]], executor: Executor, progress: Progress | None
) -> list[Lines | str]:
    futures: dict[Future[Lines | str], int] = {
        executor.submit(_lines, change, axis): _bytes(change) for change, axis in tasks
    }
    done, total = 0, sum(futures.values())
    for future in as_completed(futures):
        done += futures[future]
        if progress is not None:
            progress(done, total)
    return [future.result() for future in futures]


def _bytes(change: Change) -> int:
    return nbytes(change.base) if change.base is not None else numel(change.recipe.shape)
