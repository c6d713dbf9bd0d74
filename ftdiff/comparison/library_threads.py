"""One thread for the libraries of matrix products, where a worker is one of many on its machine.

Each of a node's workers would otherwise begin as many threads as the node has cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

#: What these libraries read when they are loaded.
_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)


@contextmanager
def inherited() -> Iterator[None]:
    """Have processes that are started in this block, and libraries loaded in it, use one thread."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Tasks:
    """The tasks that run in this process at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.first: Any = None
        self.environment = ExitStack()


_TASKS = _Tasks()


@contextmanager
def one_thread() -> Iterator[None]:
    """Have the libraries use one thread in this block, whatever started the worker.

    Some libraries have a limit for each thread that calls them, and some one for the process: that
    one is lifted by the last of the tasks that run at a time.
    """
    with _TASKS.lock:
        _take_over()
        mine = _limits()
        if not _TASKS.count:
            _TASKS.first = mine
            _TASKS.environment.enter_context(inherited())
        _TASKS.count += 1
    try:
        yield
    finally:
        with _TASKS.lock:
            _TASKS.count -= 1
            _take_over()
            if mine is not _TASKS.first:
                mine.restore_original_limits()
            if not _TASKS.count:
                _TASKS.first.restore_original_limits()
                _TASKS.environment.close()
                _take_over()


def _limits() -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _take_over() -> None:
    """Have the limit of a process obey this thread, not the one that was the first to set it."""
    from threadpoolctl import OpenBLASController

    with suppress(AttributeError):  # before 3.8 it obeyed any
        OpenBLASController.clear_controlling_thread(force=True)
