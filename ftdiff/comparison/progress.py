"""How far it is, for whoever waits: a function of bytes, told apart by phase if it wants to be."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

#: Called with the bytes, or whatever is counted, so far and in all.
Report: TypeAlias = Callable[[int, int], None]
#: What watches: a function, one that is told of phases (see `Phased`), or True for bars of our own.
Progress: TypeAlias = Report | Literal[True]
#: Called with a sentence for whoever waits.
Say: TypeAlias = Callable[[str], None]

#: Seconds of work that are worth a word.
_LEAST = 1.0
#: Seconds over which a rate is taken, and after which the first estimate is given.
_WINDOW, _FIRST = 30.0, 0.5


@runtime_checkable
class Phased(Protocol):
    """A progress that shows each phase under its name; a phase ends when another begins."""

    def __call__(self, done: int, total: int) -> None:
        """Take the bytes of a phase that has no name."""

    def phase(self, name: str) -> Report:
        """Begin a phase, and return what is called with its bytes so far and in all."""


def phase(progress: Progress | None, name: str) -> Report:
    """Begin a phase of what may be a plain function, or nobody.

    >>> phase(None, "sums")(1, 2)
    >>> phase(print, "sums")(1, 2)
    1 2
    """
    if progress is None:
        return _unwatched
    if progress is True:
        from ftdiff.comparison.notebook_bars import BARS

        return BARS.phase(name)
    return progress.phase(name) if isinstance(progress, Phased) else progress


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


def duration(seconds: float) -> str:
    """Say a time as people do.

    >>> duration(0.26), duration(42.3), duration(600), duration(9000)
    ('0.3 s', '42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 2 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def announce(say: Say | None, what: str, seconds: float, more: str = "") -> None:
    """Say what begins, and how long it will take; of what takes no time, nothing.

    >>> announce(print, "1 text, 6 passes", 42.3)
    1 text, 6 passes: about 42 s
    >>> announce(print, "1 text, 6 passes", 0.4)
    """
    if say is not None and seconds >= _LEAST:
        say(f"{what}: about {duration(seconds)}{more}")


def _unwatched(done: int, total: int) -> None:
    """Take what nobody waits for."""
