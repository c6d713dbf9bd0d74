"""How far it is, for whoever waits: a function of bytes, told apart by phase if it wants to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from ftdiff.comparison.pace import Report as Report

#: What watches: a function, one that is told of phases (see `Phased`), or True for bars of our own.
Progress: TypeAlias = Report | Literal[True]
#: Called with a sentence for whoever waits.
Say: TypeAlias = Callable[[str], None]

#: Seconds of work that are worth a word.
_LEAST = 1.0


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
