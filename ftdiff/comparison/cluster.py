"""The workers of a Dask scheduler: asked before they measure, waited for, and missed aloud."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any
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
        self._asked: set[Source] = set()
        self._since: float | None = None
        self._has_said = False

    @property
    def threads(self) -> int:
        """How many tasks run at a time, on all workers that are there; 0 where there are none."""
        try:
            return sum(self._client.nthreads().values())
        except (OSError, RuntimeError, AttributeError):  # nor is there a scheduler
            return 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call `fn`."""
        future: Future[Any] = self._executor.submit(fn, *args, **kwargs)
        return future

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
        if self.threads:
            self._since, self._has_said = None, False
            return None
        if self._client.status in ("closing", "closed"):
            return f"{self._address}: the scheduler is gone"
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        waited = now - self._since
        if self._wait is not None and waited >= self._wait:
            return f"{self._address}: no worker in {duration(self._wait)}"
        if waited >= _QUIET and not self._has_said and self._say is not None:
            self._has_said = True
            until = "" if self._wait is None else f" until {duration(self._wait)} are over"
            hint = " (--wait SECONDS gives up)" if self._wait is None else ""
            self._say(
                f"{self._address}: no worker for {duration(_QUIET)}; waiting for one{until}{hint}"
            )
        return None

    def ask(self, files: Iterable[Source]) -> None:
        """Ask each worker whether it has this ftdiff and sees these files, each file once.

        Raises
        ------
        BadCall
            Some differ.
        """
        new = [file for file in files if file not in self._asked]
        if not new:
            return
        answers = self._client.run(preflight.look, preflight.version(), new, on_error="return")
        # a connection that broke says nothing of a worker: its tasks are lost, and tried again
        there = {who: told for who, told in answers.items() if not isinstance(told, OSError)}
        preflight.check(self._address, there)
        self._asked.update(new)


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
