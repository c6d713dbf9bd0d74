"""How fast a phase goes, and how long it will still take, as of this moment."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

#: Called with the bytes, or whatever is counted, so far and in all.
Report: TypeAlias = Callable[[int, int], None]

#: Seconds over which a rate is taken, and after which the first estimate is given.
_WINDOW, _FIRST = 30.0, 0.5


class Pace:
    """How fast a phase goes, and how long it will still take, as of now.

    The rate is over the last half minute up to this moment, not up to the last report: where
    nothing comes, it falls and the time left grows, so that no estimate is stale.

    Parameters
    ----------
    clock
        Returns seconds.

    Examples
    --------
    >>> now = 0.0
    >>> pace = Pace(lambda: now)
    >>> now = 2.0; pace.report(100, 400); pace.rate, pace.left
    (50.0, 6.0)
    >>> now = 8.0; pace.rate, pace.left
    (12.5, 24.0)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = clock()
        self.done, self.total = 0, 0
        self._marks = deque([(self.began, 0)])

    def report(self, done: int, total: int) -> None:
        """Take how much is done, and of how much."""
        now = self._clock()
        self.done, self.total = done, total
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[1][0] < now - _WINDOW:
            self._marks.popleft()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._clock() - self.began

    @property
    def finished(self) -> bool:
        """Whether all of it is done."""
        return 0 < self.total <= self.done

    @property
    def rate(self) -> float | None:
        """How much is done in a second; None where nothing is known."""
        then, before = self._marks[0]
        passed = self._clock() - then
        return (self.done - before) / passed if passed > 0 and self.done > before else None

    @property
    def left(self) -> float | None:
        """How many seconds are left; None where nothing is known."""
        if not self.rate or not self.total or self.seconds < _FIRST:
            return None
        return max(0.0, (self.total - self.done) / self.rate)
