"""Measure every line on any `concurrent.futures.Executor`, the costliest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from typing import TypeVar

from ftdiff.analyses.pairwise.alignment import Line
from ftdiff.analyses.pairwise.inner_products import cost
from ftdiff.comparison.engine import Progress
from ftdiff.comparison.threads import pool

T = TypeVar("T")


def run(
    lines: Sequence[Line],
    task: Callable[[Line], T],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[T]:
    """Return what `task` finds of each line, in their order.

    Parameters
    ----------
    lines
        What is measured, each on one worker.
    task
        A function that travels: of a module, or a `functools.partial` of one.
    executor
        Threads of this process by default, one for each core.
    progress
        Called with the bytes read so far and in all.
    """
    if executor is None:
        with pool() as threads:
            return run(lines, task, threads, progress)
    order = sorted(range(len(lines)), key=lambda i: -cost(lines[i]))
    futures = {executor.submit(task, lines[i]): i for i in order}
    total, done = sum(map(cost, lines)), 0
    found: dict[int, T] = {}
    for future in as_completed(futures):
        found[futures[future]] = future.result()
        done += cost(lines[futures[future]])
        if progress is not None:
            progress(done, total)
    return [found[i] for i in range(len(lines))]
