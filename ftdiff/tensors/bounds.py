"""How much memory measuring may take beside the interpreter, for whoever chooses a window.

Within `bounded`, tasks are handed out so that what they hold together stays under a size. What a
task may assume of it reaches the worker with the task: `held` says how much all of them may hold
there, and how many there are. Neither changes a bit of what is measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ftdiff.errors import BadCall

#: Bytes where nothing is said.
DEFAULT = 400_000_000
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Bound:
    """What all tasks of a process may hold together.

    Attributes
    ----------
    size
        In bytes.
    given
        Whether it was asked for: what needs more is refused then, and measured alone else.
    tasks
        How many run at a time.
    """

    size: int = DEFAULT
    given: bool = False
    tasks: int = 1

    @property
    def share(self) -> int:
        """What each task may hold, if all hold as much."""
        return self.size // self.tasks


_BOUND: ContextVar[Bound | None] = ContextVar("memory", default=None)


def held() -> Bound:
    """Return the bound that holds here."""
    return _BOUND.get() or Bound()


@contextmanager
def within(bound: Bound) -> Iterator[None]:
    """Have a bound hold in this block."""
    token = _BOUND.set(bound)
    try:
        yield
    finally:
        _BOUND.reset(token)


@contextmanager
def bounded(size: str | int | None) -> Iterator[None]:
    """Keep what is measured in this block within so many bytes beside the interpreter.

    Parameters
    ----------
    size
        Bytes, or words such as "400MB", "1.5G" or "2GiB"; None leaves the bound as it is.

    Raises
    ------
    BadCall
        It is no size, or nothing.
    """
    if size is None:
        yield
        return
    with within(Bound(size_of(size), given=True)):
        yield


def afford(needed: int, what: str, phase: str) -> None:
    """Refuse what holds more than was asked for.

    Raises
    ------
    BadCall
        It does: what, and what it needs.
    """
    bound = held()
    if bound.given and needed > bound.size:
        raise BadCall(f"--memory {told(bound.size)}: {what} needs {told(needed)} ({phase})")


def size_of(said: str | int) -> int:
    """Return a size in bytes.

    >>> size_of("1.5 GB"), size_of("2MiB"), size_of(4096)
    (1500000000, 2097152, 4096)
    """
    found = _SIZE.fullmatch(str(said))
    size = 0
    if found is not None:
        number, unit, binary = found.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _POWER[unit.lower()])
    if size < 1:
        raise BadCall(f"--memory {said!s:.40}: a size is needed, such as 400MB or 2GiB")
    return size


def told(size: int) -> str:
    """Return a size in words, rounded up.

    >>> told(400_000_000), told(1_234_567_890), told(5)
    ('400 MB', '1.3 GB', '5 bytes')
    """
    if size > 999_000_000:
        return f"{-(-size // 100_000_000) / 10:g} GB"
    if size < 1000:
        return f"{size} bytes"
    if size < 1_000_000:
        return f"{-(-size // 1000)} kB"
    return f"{-(-size // 1_000_000)} MB"
