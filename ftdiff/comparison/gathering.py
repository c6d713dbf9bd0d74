"""Outcomes gathered as they come: what was measured, and what was lost with its worker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeAlias, TypeVar

from ftdiff.comparison.library_threads import one_thread
from ftdiff.comparison.progress import Report
from ftdiff.errors import one_line
from ftdiff.tensors import bounds
from ftdiff.tensors.bounds import Bound

P = TypeVar("P")
R = TypeVar("R")

#: Errors of `distributed`, and of Ray, that say that a worker or the way to it is gone.
_GONE = frozenset(
    {
        *("KilledWorker", "CommClosedError", "ClosedClientError"),
        *("WorkerCrashedError", "NodeDiedError"),
    }
)
#: Seconds between two looks for whoever measures.
_LOOK = 1.0
_LONGEST = 300  # characters of such an error: Dask's tells of its logs


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
    several
        The same as `measure` of each of several pieces, where that is quicker at once.
    memory
        The bytes that measuring a piece holds at least, known from its shape; None where they are
        few.
    """

    phase: str
    measure: Callable[[P], R]
    name: Callable[[P], str]
    cost: Callable[[P], int]
    priority: Callable[[P], float] | None = None
    several: Callable[[Sequence[P]], list[R]] | None = None
    memory: Callable[[P], int] | None = None


class Stranded(BrokenExecutor):
    """Nobody is there any more to measure."""


def blame(name: str, error: Exception) -> str:
    """Say why a piece of that name has no outcome."""
    told = one_line(str(error) or type(error).__name__, _LONGEST)
    return f"{name}: {told}" if isinstance(error, Stranded) else f"{name}: the worker died ({told})"


Lost: TypeAlias = list[tuple[range, Exception]]


class Gathering(Generic[P, R]):
    """The outcomes so far, by the place of each piece."""

    def __init__(
        self,
        work: Work[P, R],
        pieces: Sequence[P],
        report: Report,
        keep: Callable[[P, R], None] | None,
        bound: Bound | None = None,
    ) -> None:
        self.outcomes: dict[int, R | str] = {}
        self._measure, self._pieces, self._keep = work.measure, pieces, keep
        self._several = work.several
        self._report = report
        self._alone: Stranded | None = None
        self._costs = [*map(work.cost, pieces)]
        self._looked = time.monotonic()
        self._done, self._total = 0, sum(self._costs)
        self._memory, self._bound = work.memory, bound or bounds.held()

    def of(self, bundles: Sequence[range], executor: Executor) -> Lost:
        """Hand out bundles and settle them as they come; return those that were lost."""
        if self._alone is not None:
            return [(bundle, self._alone) for bundle in bundles]
        lost: Lost = []
        # threads of this process are few, and leave the libraries theirs
        alone = not isinstance(executor, ThreadPoolExecutor)
        futures: dict[Future[list[R]], range] = {}
        ended: SimpleQueue[Future[list[R]]] = SimpleQueue()
        waiting = deque((bundle, self._holds(bundle)) for bundle in bundles)
        needs: dict[Future[list[R]], int] = {}
        holding = 0
        try:
            while waiting or futures:
                while waiting and (not futures or holding + waiting[0][1] <= self._bound.size):
                    bundle, needed = waiting.popleft()
                    mine = [self._pieces[i] for i in bundle]
                    try:
                        future = executor.submit(
                            _each, self._measure, mine, self._several, self._bound, alone
                        )
                    except Exception as error:
                        if not _is_lost(error):
                            raise
                        lost.append((bundle, error))
                    else:
                        futures[future], needs[future] = bundle, needed
                        holding += needed
                        future.add_done_callback(ended.put)
                if futures:
                    future = self._next(ended, executor)
                    bundle = futures.pop(future)
                    holding -= needs.pop(future)
                    self._end(future, bundle, lost)
        except Stranded as error:
            self._alone = error
            left = [*futures.values(), *(bundle for bundle, _ in waiting)]
            return [*lost, *((bundle, error) for bundle in left)]
        except BaseException:  # an interrupt too: what has not begun is not to begin any more
            for future in futures:
                future.cancel()
            raise
        return lost

    def _next(self, ended: SimpleQueue[Future[list[R]]], executor: Executor) -> Future[list[R]]:
        """Wait for a task to end, as long as there is anybody to end it."""
        stranded = getattr(executor, "stranded", None)
        if stranded is None:
            return ended.get()
        while True:
            left = self._looked + _LOOK - time.monotonic()
            with suppress(Empty):
                if left > 0:
                    return ended.get(timeout=left)
            self._looked = time.monotonic()
            if (why := stranded()) is not None and ended.empty():
                raise Stranded(why)

    def _holds(self, bundle: range) -> int:
        """Return what measuring a bundle holds: its pieces are measured one after the other."""
        if self._memory is None:
            return 0
        return max((self._memory(self._pieces[i]) for i in bundle), default=0)

    def _end(self, future: Future[list[R]], bundle: range, lost: Lost) -> None:
        try:
            outcomes = future.result()
        except Exception as error:
            if not _is_lost(error):
                raise
            lost.append((bundle, error))
        else:
            self._tell(bundle, outcomes)
            self.settle(bundle, outcomes)

    def _tell(self, bundle: range, outcomes: Sequence[R]) -> None:
        if self._keep is not None:
            for i, outcome in zip(bundle, outcomes, strict=True):
                self._keep(self._pieces[i], outcome)

    def settle(self, bundle: range, outcomes: Sequence[R | str]) -> None:
        """Keep the outcomes of a bundle, and tell how far it is."""
        self.outcomes.update(zip(bundle, outcomes, strict=True))
        self._done += sum(self._costs[i] for i in bundle)
        self._report(self._done, self._total)


def _each(
    measure: Callable[[P], R],
    pieces: Sequence[P],
    several: Callable[[Sequence[P]], list[R]] | None = None,
    bound: Bound | None = None,
    alone: bool = False,
) -> list[R]:
    """Measure a bundle on a worker; `alone`, it uses one thread, whatever started the worker."""
    with one_thread() if alone else nullcontext(), bounds.within(bound or bounds.held()):
        if several is not None and len(pieces) > 1:
            return several(pieces)
        return [measure(piece) for piece in pieces]


def _is_lost(error: Exception) -> bool:
    """Say whether the worker failed, not the work."""
    if isinstance(error, BrokenExecutor | CancelledError):
        return True
    if isinstance(error, ModuleNotFoundError):  # it has come since others were asked
        return (error.name or "").partition(".")[0] == "ftdiff"
    return not _GONE.isdisjoint(cls.__name__ for cls in type(error).__mro__)
