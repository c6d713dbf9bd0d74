"""Where the measuring happens, and the one place that hands tasks out and gathers what they give.

A task is a bundle of pieces, measured on one worker. A task that is lost because its worker died
or its connection broke is tried again, each piece by itself, and what is lost of these once more,
one after the other, so that no piece is blamed for its neighbour. A piece that is lost even then
has a complaint as its outcome, and the outcomes of all others are kept. Nothing that may have
killed a worker is ever measured on the caller's side: what a `ProcessPoolExecutor` had not
finished when it broke is measured in processes of our own; a Dask cluster starts new workers.

Any `concurrent.futures.Executor` will do; `ftdiff.integrations.RayExecutor` shows how few lines
make one of another scheduler.

`threads`, where an executor has it, is how many tasks it runs at a time. `ask`, where it has it, is
called with the files that will be read, before they are; `stranded`, once a second, returns why no
outcome is waited for any longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

from ftdiff.comparison import afar, journal, preflight
from ftdiff.comparison.cluster import connected, known
from ftdiff.comparison.gathering import Gathering, Work, blame
from ftdiff.comparison.processes import Processes
from ftdiff.comparison.progress import Progress, Say, phase
from ftdiff.comparison.threads import cores, pool
from ftdiff.errors import BadCall
from ftdiff.tensors import bounds
from ftdiff.tensors.bounds import Bound

P = TypeVar("P")
R = TypeVar("R")

__all__ = ["Work", "Workplace", "afford", "ask", "count", "executor", "run", "task_bytes"]


@dataclass(frozen=True)
class Workplace:
    """Where to measure, and who is told how far it is.

    Attributes
    ----------
    executor
        Threads of this process if None, one for each core.
    progress, say, device
        As in `ftdiff.compare`.
    """

    executor: Executor | None = None
    progress: Progress | None = None
    say: Say | None = None
    device: str | None = None


def run(
    work: Work[P, R],
    tasks: Sequence[Sequence[P]],
    executor: Executor | None = None,
    progress: Progress | None = None,
    keep: Callable[[P, R], None] | None = None,
) -> list[R | str]:
    """Return the outcome of every piece in the order given, or why its worker was lost.

    Where a journal is kept, what it has is not measured again.

    Parameters
    ----------
    work
        What is done with each piece.
    tasks
        Bundles of pieces, each for one worker.
    executor
        Any; threads of this process by default, one for each core.
    progress
        Called with the cost of the pieces that are done, and of all.
    keep
        Called with each piece and its outcome when its task ends, in the caller's thread and in no
        order; not with a piece whose worker was lost.

    Raises
    ------
    Exception
        What `work.measure` raises.
    """
    kept = journal.current()
    if kept is None:
        return _run_all(work, tasks, executor, progress, keep)
    asked = journal.Asked(kept, work.measure, tasks, work.name, work.phase)

    def noted(piece: P, outcome: R) -> None:
        asked.keep(piece, outcome)
        if keep is not None:
            keep(piece, outcome)

    return asked.together(_run_all(work, asked.left, executor, progress, noted))


def _run_all(
    work: Work[P, R],
    tasks: Sequence[Sequence[P]],
    executor: Executor | None,
    progress: Progress | None,
    keep: Callable[[P, R], None] | None,
) -> list[R | str]:
    pieces = [piece for task in tasks for piece in task]
    with afar.reading(pieces, known(executor)) as lent:
        if lent is not None:
            return _run(work, tasks, pieces, lent, progress, keep)
        with pool() as threads:
            return _run(work, tasks, pieces, threads, progress, keep)


def _run(
    work: Work[P, R],
    tasks: Sequence[Sequence[P]],
    pieces: Sequence[P],
    executor: Executor,
    progress: Progress | None,
    keep: Callable[[P, R], None] | None,
) -> list[R | str]:
    ask = getattr(executor, "ask", None)
    if ask is not None:
        ask(preflight.sources(pieces))
    afford(work, pieces)
    bound = _bound(executor)
    gathering = Gathering(work, pieces, phase(progress, work.phase), keep, bound)
    ends = [*accumulate(map(len, tasks), initial=0)]
    bundles = [range(*ends[i : i + 2]) for i in range(len(tasks))]
    if work.priority is not None:
        rank = [*map(work.priority, pieces)]
        bundles.sort(key=lambda bundle: -sum(rank[i] for i in bundle))
    lost = gathering.of(bundles, executor)
    with _again(executor, bool(lost)) as workers:
        lost = gathering.of([range(i, i + 1) for bundle, _ in lost for i in bundle], workers)
        for one, _ in lost:
            for bundle, error in gathering.of([one], workers):
                gathering.settle(bundle, [blame(work.name(pieces[i]), error) for i in bundle])
    return [gathering.outcomes[i] for i in range(len(pieces))]


@contextmanager
def _again(executor: Executor, lost: bool) -> Iterator[Executor]:
    """Lend workers for what was lost: others, where those given take no more tasks."""
    if lost and isinstance(executor, ProcessPoolExecutor):
        with Processes(count(executor)) as workers:
            yield workers
    else:
        yield executor


def afford(work: Work[P, Any], pieces: Sequence[P]) -> None:
    """Refuse work of which a piece alone holds more than was asked for.

    Raises
    ------
    BadCall
        It does: the piece, and what it needs.
    """
    bound = bounds.held()
    if not bound.given or work.memory is None or not pieces:
        return
    needed, most = max(((work.memory(piece), i) for i, piece in enumerate(pieces)))
    bounds.afford(needed, f"{work.name(pieces[most])} alone", work.phase)


def _bound(executor: Executor) -> Bound:
    """Return what all tasks may hold: so much in this process, or in each of others."""
    bound, tasks = bounds.held(), count(executor)
    if not isinstance(executor, ThreadPoolExecutor):
        return replace(bound, size=bound.size * tasks, tasks=tasks)
    return replace(bound, tasks=tasks)


def ask(executor: Executor | None, question: Callable[..., R], *about: Any) -> R:
    """Return a worker's answer; this process's where no executor is given."""
    return question(*about) if executor is None else executor.submit(question, *about).result()


def count(executor: Executor | None) -> int:
    """Return how many tasks run at a time, as far as the executor says; else 1."""
    if executor is None:
        return cores()
    executor = known(executor)
    said = getattr(executor, "threads", None) or getattr(executor, "_max_workers", None)
    return max(1, int(said or 1))


#: Bytes of a task: of this process's threads, and anywhere else, where a task costs milliseconds.
LEAST, NEAR_BYTES, FAR_BYTES = 1 << 20, 16 << 20, 256 << 20


def task_bytes(total: int, executor: Executor | None) -> int:
    """Return how much a task should read, so that every thread has several to do.

    >>> task_bytes(22_000_000, None) <= 22_000_000 / 8
    True
    """
    near = executor is None or isinstance(executor, ThreadPoolExecutor)
    share = total // (8 * count(executor))
    return min(max(share, LEAST), NEAR_BYTES if near else FAR_BYTES)


@contextmanager
def executor(
    *,
    threads: int | None = None,
    processes: int | None = None,
    dask: str | None = None,
    wait: float | None = None,
    say: Say | None = None,
) -> Iterator[Executor | None]:
    """Lend an executor; None stands for the engine's own choice, a thread for each core.

    Parameters
    ----------
    threads, processes
        Number of threads of this process, or of processes of this machine.
    dask
        Address of a Dask scheduler, such as "tcp://host:8786"; its workers need the same paths,
        where they see the same files or copies of them.
    wait
        Seconds that a cluster may be without a worker before it is given up; for ever if None.
    say
        Called with a sentence where one is waited for.

    Raises
    ------
    BadCall
        Several of them are given, fewer than one thread or process, no scheduler answers, or no
        worker came in time.
    MissingExtra
        Dask is not installed.
    """
    given = {"-j": threads, "--processes": processes, "--dask": dask}
    told = [name for name, value in given.items() if value is not None]
    if len(told) > 1:
        raise BadCall(
            "either threads of this process (-j), processes (--processes) or a Dask cluster "
            f"(--dask), not {'both' if len(told) == 2 else 'all of them'}"
        )
    if wait is not None and dask is None:
        raise BadCall("--wait is for the workers of a Dask cluster (--dask)")
    for name, number, what in (("-j", threads, "thread"), ("--processes", processes, "process")):
        if number is not None and number < 1:
            raise BadCall(f"{name} {number}: at least one {what} is needed")
    if dask is not None:
        with connected(dask, wait, say) as cluster:
            yield cluster
    elif processes is not None:
        with _closing(Processes(processes)) as pooled:
            yield pooled
    elif threads is not None:
        with pool(threads) as workers:
            yield workers
    else:
        yield None


@contextmanager
def _closing(workers: Executor) -> Iterator[Executor]:
    """Close a pool when what it does is done, or at once when something goes wrong."""
    try:
        yield workers
    except BaseException:
        workers.shutdown(wait=False, cancel_futures=True)
        raise
    workers.shutdown()
