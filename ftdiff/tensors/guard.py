"""What keeps a process alive that reads a map of a file which another cuts short.

The system ends a process that reads a page of a map behind the end of the file, or one that the
disk or the network cannot give. A guard has such pages stand as zeros, and tells which they are, so
that nothing which was read of them is taken for the file's. The compiler is above this package:
`ftdiff.kernels` offers what makes the guard.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Protocol

#: Whether there is one for this system; elsewhere files are read by copies.
POSSIBLE = sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 1 << 32


class Guard(Protocol):
    """Guards maps, by their addresses."""

    def watch(self, address: int, size: int) -> int | None:
        """Guard a map from now on and return its number; None where there are too many."""

    def release(self, number: int) -> None:
        """Guard a map no more, before it is closed."""

    def stand(self) -> None:
        """Stand first again, where somebody else has put himself in its place since."""

    def holes(self, number: int) -> tuple[int, int] | None:
        """Return from where to where in the map zeros may stand for the file's bytes, if any do."""


_MAKERS: list[Callable[[], Guard]] = []
_MADE: list[Guard] = []


def offer(make: Callable[[], Guard]) -> None:
    """Offer what makes the guard when it is first wanted."""
    _MAKERS[:] = [make] if POSSIBLE else []


def guard() -> Guard | None:
    """Return this process's guard; None where there is none."""
    if not _MADE and _MAKERS:
        _MADE.append(_MAKERS[0]())
    return _MADE[0] if _MADE else None
