"""Processes of this machine as workers: one that dies takes the task it had, and nothing else."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from typing import Any

from ftdiff.comparison import library_threads

#: Other threads start no process while the environment is that of a worker.
_STARTING = threading.Lock()
#: Seconds in which a thread keeps the exit code that it took from the system.
_KEPT = 1.0


class Processes(Executor):
    """A pool of processes, each given one task at a time, and another in its place when it dies.

    Whatever a task did to its process, those of the others go on.

    Parameters
    ----------
    count
        How many.
    """

    def __init__(self, count: int) -> None:
        self.threads = count
        self._callers = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._all = [_Process() for _ in range(count)]
        for one in self._all:
            self._idle.put(one)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a process call `fn`; a `BrokenExecutor` is what comes of one that dies of it."""
        return self._callers.submit(self._call, fn, args, kwargs)

    def _call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mine = self._idle.get()
        try:
            return mine.call(fn, args, kwargs)
        finally:
            self._idle.put(mine)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, when they are done or at once."""
        if not wait:
            for one in self._all:
                one.end()
        self._callers.shutdown(wait, cancel_futures=cancel_futures)
        for one in self._all:
            one.end()


class _Process:
    """A process that is started when it is first called, and again after it has died."""

    def __init__(self) -> None:
        self._process: Any = None
        self._line: Connection | None = None
        self._ended = False

    def call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._line is None:
            self._start()
        assert self._line is not None
        try:
            self._line.send((fn, args, kwargs))
            failed, outcome = self._line.recv()
        except (EOFError, ConnectionError) as error:
            raise BrokenExecutor(self._how_it_ended()) from error
        if failed:
            raise outcome
        return outcome

    def _start(self) -> None:
        context = get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _STARTING, library_threads.inherited():
            if self._ended:
                raise BrokenExecutor("the pool is closed")
            self._process.start()
        theirs.close()  # or the end of the process would not be the end of the line

    def _how_it_ended(self) -> str:
        self._process.join()
        code, self._line = self._exit_code(), None
        if code is None:
            return "its process ended"
        if code >= 0:
            return f"its process ended with exit code {code}"
        with suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process was ended by signal {-code}"

    def _exit_code(self) -> int | None:
        """Return the exit code; where another thread took it from the system, once it is kept."""
        until = time.monotonic() + _KEPT
        while self._process.exitcode is None and time.monotonic() < until:
            time.sleep(0.001)
        code: int | None = self._process.exitcode
        return code

    def end(self) -> None:
        with _STARTING:
            self._ended = True
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(line: Connection) -> None:
    """Call what is asked for, one after the other, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asks is interrupted, and ends us
    while True:
        try:
            fn, args, kwargs = line.recv()
        except EOFError:
            return
        try:
            answer = False, fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            answer = True, _travelling(error)
        try:
            line.send(answer)
        except (TypeError, AttributeError, ValueError) as error:
            line.send((True, TypeError(f"{answer[1]!r:.300} cannot be pickled: {error}")))
        except OSError:  # nobody waits for it any more
            return


def _travelling(error: Exception) -> Exception:
    """Return an error, or what stands for it where it cannot be made again elsewhere."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does when it is made again
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
