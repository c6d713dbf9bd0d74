"""The workers of a Dask scheduler: asked before they measure, waited for, and missed aloud.

A worker that differs from whoever asks gets no task; the others do all. One that joins later is
asked within a second. A task that reaches it before that has it look for itself; if it differs, the
task is refused there, and tried again elsewhere.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary, proxy

from ftdiff.comparison import preflight
from ftdiff.comparison.progress import Say, duration
from ftdiff.errors import BadCall, require
from ftdiff.tensors import Source

#: Seconds without a worker that are nothing to speak of.
_QUIET = 10.0
#: How long a scheduler may take to answer.
_ANSWER = "10s"
#: Seconds between two looks for one.
_LOOK = 0.25


class Cluster(Executor):
    """The workers of a Dask client, as many as there are at a time.

    Parameters
    ----------
    client
        `distributed.Client`.
    address
        How the cluster is called.
    wait
        Seconds without a worker after which it is given up; None for ever.
    say
        Called with a sentence where none is there.
    executor
        The client's, if not one of our own.
    """

    def __init__(
        self,
        client: Any,
        address: str,
        wait: float | None = None,
        say: Say | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._client, self._address = client, address
        self._wait, self._say = wait, say
        # pure=False: a file that has changed must be read again, not remembered
        self._executor = executor or client.get_executor(pure=False)
        self._asks, self._files = False, dict[Source, None]()
        self._ticket = uuid4().hex
        self._alike: set[str] = set()
        self._out: dict[str, Any] = {}
        self._met = float("-inf")
        self._placed: dict[Future[Any], frozenset[str]] = {}
        self._since: float | None = None
        self._has_said = False

    @property
    def threads(self) -> int:
        """How many tasks run at a time, on all workers that are not left out; 0 without any."""
        return sum(self._there().values())

    def _there(self) -> dict[str, int]:
        """Return the threads of each worker that is not left out."""
        try:
            there = self._client.nthreads()
        except (OSError, RuntimeError, AttributeError):  # nor is there a scheduler
            return {}
        return {who: threads for who, threads in there.items() if who not in self._out}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call `fn`; one of those that are alike, once some are known to differ."""
        if time.monotonic() - self._met >= _LOOK:
            self._meet()
        where: dict[str, Any] = {}
        if self._out:
            where["workers"] = [*self._waited_for()]
        ticket = self._ticket if self._asks else ""
        future: Future[Any] = self._executor.submit(
            preflight.guarded, preflight.version(), ticket, fn, *args, **kwargs, **where
        )
        if self._out:
            self._placed[future] = frozenset(where["workers"])
            future.add_done_callback(lambda ended: self._placed.pop(ended, None))
        return future

    def _waited_for(self) -> frozenset[str]:
        """Return the workers that are alike, as soon as there is one."""
        while not (alike := self._alike & self._there().keys()):
            if (why := self.stranded()) is not None:
                raise BrokenExecutor(why)
            time.sleep(_LOOK)
        return frozenset(alike)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget the tasks; the cluster stays."""
        self._executor.shutdown(wait)

    def begin(self) -> None:
        """Wait for the first worker.

        Raises
        ------
        BadCall
            None came in time.
        """
        while not self.threads:
            if (why := self.stranded()) is not None:
                raise BadCall(why)
            time.sleep(_LOOK)
        self._since = None

    def stranded(self) -> str | None:
        """Say why tasks are not waited for any longer: for long there was no worker."""
        self._meet()
        if there := self._there():
            self._since, self._has_said = None, False
            self._free(there)
            return None
        if self._client.status in ("closing", "closed"):
            return f"{self._address}: the scheduler is gone"
        none = "no worker that is alike" if self._out else "no worker"
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        waited = now - self._since
        if self._wait is not None and waited >= self._wait:
            return f"{self._address}: {none} in {duration(self._wait)}"
        if waited >= _QUIET and not self._has_said and self._say is not None:
            self._has_said = True
            until = "" if self._wait is None else f" until {duration(self._wait)} are over"
            hint = " (--wait SECONDS gives up)" if self._wait is None else ""
            self._say(
                f"{self._address}: {none} for {duration(_QUIET)}; waiting for one{until}{hint}"
            )
        return None

    def ask(self, files: Iterable[Source]) -> None:
        """Ask each worker whether it has this ftdiff and sees these files, each file once.

        Those that differ are left out, and named.

        Raises
        ------
        BadCall
            All differ.
        """
        new = [file for file in files if file not in self._files]
        asked_before = self._alike & self._there().keys() if new else ()
        self._files.update(dict.fromkeys(new))
        self._asks = True
        self._examine(new, asked_before)
        self._meet()
        if self._out and not self._alike:
            raise BadCall(preflight.refusal(self._address, self._out))

    def _meet(self) -> None:
        """Ask the workers that have come since, once there is anything to ask for."""
        self._met = time.monotonic()
        if self._asks:
            self._examine([*self._files], self._there().keys() - self._alike)

    def _examine(self, files: Sequence[Source], workers: Collection[str]) -> None:
        if not workers:
            return
        asked = (preflight.version(), files, self._ticket)
        answers = self._client.run(preflight.look, *asked, workers=[*workers], on_error="return")
        # a connection that broke says nothing of a worker: its tasks are lost, and tried again
        there = {who: told for who, told in answers.items() if not isinstance(told, OSError)}
        out = {who: told for who, told in there.items() if told is not None}
        self._alike = (self._alike | there.keys()) - out.keys()
        self._out |= out
        left = len(self._there())
        if out and left:
            told = preflight.left_out(self._address, out, left)
            (self._say or partial(warnings.warn, stacklevel=2))(told)

    def _free(self, there: Collection[str]) -> None:
        """Take back the tasks whose workers are all gone: others are there, who may do them."""
        for future, workers in [*self._placed.items()]:
            if workers.isdisjoint(there):
                future.cancel()


#: What is known of executors that `distributed` made.
_KNOWN: WeakKeyDictionary[Executor, Cluster] = WeakKeyDictionary()


def known(executor: Executor | None) -> Executor | None:
    """Return the cluster behind an executor of `distributed`; any other executor itself."""
    client = getattr(executor, "_client", None)
    if executor is None or isinstance(executor, Cluster) or not hasattr(client, "nthreads"):
        return executor
    if executor not in _KNOWN:
        _KNOWN[executor] = Cluster(client, "Dask", executor=proxy(executor))
    return _KNOWN[executor]


@contextmanager
def connected(address: str, wait: float | None, say: Say | None) -> Iterator[Cluster]:
    """Lend the workers of the scheduler at an address, as soon as there is one.

    Raises
    ------
    BadCall
        No scheduler answers, or no worker came in time.
    MissingExtra
        Dask is not installed.
    """
    distributed = require("distributed", "dask", "--dask")
    try:
        client = distributed.Client(address, timeout=_ANSWER)
    except (OSError, ValueError) as error:
        raise BadCall(f"--dask {address}: no scheduler answers there") from error
    with client:
        cluster = Cluster(client, f"--dask {address}", wait, say)
        cluster.begin()
        yield cluster
