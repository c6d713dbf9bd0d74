"""Threads of this process; what still waits is dropped when something goes wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Lend a pool of threads, one for each core by default."""
    threads = ThreadPoolExecutor(count or cores())
    try:
        yield threads
    except BaseException:  # an interrupt too: nothing is begun any more, nor waited for
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()
