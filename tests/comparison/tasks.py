"""What workers are given to do in tests; it imports little, since every worker imports it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftdiff.comparison.gathering import Work


def square(number: int, deadly: int | None = None) -> int:
    if number == deadly:
        os._exit(7)
    return number * number


def slow(number: int) -> int:
    time.sleep(0.05)
    return square(number)


def pid(_: int) -> int:
    return os.getpid()


def slow_pid(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def library_threads(_: int = 0) -> int:
    """Return how many threads the library of matrix products would use here."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    return max(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")


def ended(by: int) -> None:
    os.kill(os.getpid(), by)


def unpicklable() -> Any:
    return threading.Lock()


class Wanting(Exception):
    """An error that cannot be made again from what it tells."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def wanting() -> None:
    raise Wanting(1, 2)


def stalled(path: Path) -> None:
    path.touch()
    time.sleep(600)


def work(measure: Callable[[int], Any] = square, **more: Any) -> Work[int, Any]:
    return Work("squares", measure, name=lambda n: f"n{n}", cost=lambda n: n, **more)


class Watcher:
    """A progress that tells phases apart."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[int, int]]] = {}

    def __call__(self, done: int, total: int) -> None:
        raise AssertionError("every phase has a name")

    def phase(self, name: str) -> Callable[[int, int], None]:
        mine = self.seen.setdefault(name, [])
        return lambda done, total: mine.append((done, total))
