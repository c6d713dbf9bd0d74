"""Where the measuring happens, and the one place that hands tasks out and gathers what they give.

A task is a bundle of pieces, measured on one worker. A task that is lost because its worker died
or its connection broke is tried again, each piece by itself, and what is lost of these once more,
one after the other, so that no piece is blamed for its neighbour. A piece that is lost even then
has a complaint as its outcome, and the outcomes of all others are kept. Nothing that may have
killed a worker is ever measured on the caller's side: a process pool that broke takes no more
tasks, so all that it had not finished is lost; a Dask cluster starts new workers and loses the
deadly piece only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeAlias, TypeVar

from ftdiff.comparison import afar, journal
from ftdiff.comparison.progress import Progress, Say, phase
from ftdiff.comparison.threads import cores, pool
from ftdiff.errors import BadCall, one_line, require

P = TypeVar("P")
R = TypeVar("R")

#: Errors of `distributed` that say that a worker or the way to it is gone.
_GONE = frozenset({"KilledWorker", "CommClosedError"})
_LONGEST = 300  # characters of such an error: Dask's tells of its logs


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


@dataclass(frozen=True)
class Work(Generic[P, R]):
    """What is done with every piece, and what is known of a piece beforehand.

    Attributes
    ----------
    phase
        A word for whoever waits.
    measure
        Called with a piece on a worker, so it travels: a module's function, or a partial of one.
    name
        What a piece is called where it is lost.
    cost
        The bytes that a piece reads.
    priority
        Tasks are begun by the sum of this, the largest first; in the order given if None.
    """

    phase: str
    measure: Callable[[P], R]
    name: Callable[[P], str]
    cost: Callable[[P], int]
    priority: Callable[[P], float] | None = None


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
    with afar.reading(pieces, executor) as lent:
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
    gathering = _Gathering(work, pieces, executor, phase(progress, work.phase), keep)
    ends = [*accumulate(map(len, tasks), initial=0)]
    bundles = [range(*ends[i : i + 2]) for i in range(len(tasks))]
    if work.priority is not None:
        rank = [*map(work.priority, pieces)]
        bundles.sort(key=lambda bundle: -sum(rank[i] for i in bundle))
    lost = gathering.of(bundles)
    lost = gathering.of([range(i, i + 1) for bundle, _ in lost for i in bundle])
    for one, _ in lost:
        for bundle, error in gathering.of([one]):
            told = one_line(str(error) or type(error).__name__, _LONGEST)
            why = [f"{work.name(pieces[i])}: the worker died ({told})" for i in bundle]
            gathering.settle(bundle, why)
    return [gathering.outcomes[i] for i in range(len(pieces))]


_Lost: TypeAlias = list[tuple[range, Exception]]


class _Gathering(Generic[P, R]):
    """The outcomes so far, by the place of each piece."""

    def __init__(
        self,
        work: Work[P, R],
        pieces: Sequence[P],
        executor: Executor,
        report: Progress,
        keep: Callable[[P, R], None] | None,
    ) -> None:
        self.outcomes: dict[int, R | str] = {}
        self._measure, self._pieces, self._keep = work.measure, pieces, keep
        self._executor, self._report = executor, report
        self._costs = [*map(work.cost, pieces)]
        self._done, self._total = 0, sum(self._costs)

    def of(self, bundles: Sequence[range]) -> _Lost:
        """Hand out bundles and settle them as they come; return those that were lost."""
        lost: _Lost = []
        futures: dict[Future[list[R]], range] = {}
        try:
            for bundle in bundles:
                mine = [self._pieces[i] for i in bundle]
                try:
                    futures[self._executor.submit(_each, self._measure, mine)] = bundle
                except Exception as error:
                    if not _is_lost(error):
                        raise
                    lost.append((bundle, error))
            for future in as_completed(futures):
                bundle = futures.pop(future)
                try:
                    outcomes = future.result()
                except Exception as error:
                    if not _is_lost(error):
                        raise
                    lost.append((bundle, error))
                else:
                    if self._keep is not None:
                        for i, outcome in zip(bundle, outcomes, strict=True):
                            self._keep(self._pieces[i], outcome)
                    self.settle(bundle, outcomes)
        except BaseException:  # an interrupt too: what has not begun is not to begin any more
            for future in futures:
                future.cancel()
            raise
        return lost

    def settle(self, bundle: range, outcomes: Sequence[R | str]) -> None:
        """Keep the outcomes of a bundle, and tell how far it is."""
        self.outcomes.update(zip(bundle, outcomes, strict=True))
        self._done += sum(self._costs[i] for i in bundle)
        self._report(self._done, self._total)


def _each(measure: Callable[[P], R], pieces: Sequence[P]) -> list[R]:
    """Measure a bundle on a worker."""
    return [measure(piece) for piece in pieces]


def _is_lost(error: Exception) -> bool:
    """Say whether the worker failed, not the work."""
    if isinstance(error, BrokenExecutor | CancelledError):
        return True
    return not _GONE.isdisjoint(cls.__name__ for cls in type(error).__mro__)


def ask(executor: Executor | None, question: Callable[..., R], *about: Any) -> R:
    """Return a worker's answer; this process's where no executor is given."""
    return question(*about) if executor is None else executor.submit(question, *about).result()


def count(executor: Executor | None) -> int:
    """Return how many tasks run at a time, as far as the executor says; else 1."""
    return cores() if executor is None else int(getattr(executor, "_max_workers", 1))


@contextmanager
def executor(*, threads: int | None = None, dask: str | None = None) -> Iterator[Executor | None]:
    """Lend an executor; None stands for the engine's own choice, a thread for each core.

    Parameters
    ----------
    threads
        Number of threads of this process.
    dask
        Address of a Dask scheduler, such as "tcp://host:8786"; its workers need the same paths.

    Raises
    ------
    BadCall
        Both are given, or fewer than one thread.
    MissingExtra
        Dask is not installed.
    """
    if threads is not None and dask is not None:
        raise BadCall("either threads of this process (-j) or a Dask cluster (--dask), not both")
    if dask is not None:
        with _dask(dask) as workers:
            yield workers
    elif threads is not None:
        if threads < 1:
            raise BadCall(f"-j {threads}: at least one thread is needed")
        with pool(threads) as workers:
            yield workers
    else:
        yield None


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    distributed = require("distributed", "dask", "--dask")
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise BadCall(f"--dask {address}: no scheduler answers there") from error
    with client:
        # pure=False: a file that has changed must be read again, not remembered
        yield client.get_executor(pure=False)
