"""Measure every line on any `concurrent.futures.Executor`, the costliest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from operator import attrgetter
from typing import TypeVar

from ftdiff.analyses.pairwise.inner_products import cost, held
from ftdiff.analyses.pairwise.line import Line
from ftdiff.comparison import executors
from ftdiff.comparison.executors import Work
from ftdiff.comparison.progress import Progress

T = TypeVar("T")


def run(
    lines: Sequence[Line],
    task: Callable[[Line], T],
    lost: Callable[[Line, str], T],
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
    lost
        Makes the result of a line whose worker died, from the complaint.
    executor
        Threads of this process by default, one for each core.
    progress
        Called with the bytes read so far and in all.
    """
    name = attrgetter("address.name")
    work = Work("reading", task, name, cost, priority=cost, memory=held)
    outcomes = executors.run(work, [[line] for line in lines], executor, progress)
    return [
        lost(line, outcome) if isinstance(outcome, str) else outcome
        for line, outcome in zip(lines, outcomes, strict=True)
    ]
