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
    with ThreadPoolExecutor(count or cores()) as threads:
        try:
            yield threads
        except BaseException:  # an interrupt too: it is raised again, and nothing is begun any more
            threads.shutdown(wait=False, cancel_futures=True)
            raise
