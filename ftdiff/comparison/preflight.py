"""What every worker is asked before it measures: its version of ftdiff, and what files it sees."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from functools import cache
from typing import Any

from ftdiff.deltas.recipes.held import stored
from ftdiff.errors import BadFile, one_line
from ftdiff.tensors import Source

#: Workers that are named where they differ.
_NAMED = 3
#: Characters of what one of them says.
_LONGEST = 200


@cache
def version() -> str:
    """Return ftdiff's version; "unknown" where it runs from a folder that was not installed."""
    try:
        return importlib.metadata.version("ftdiff")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def sources(things: Iterable[Any]) -> list[Source]:
    """Return the files of this machine that will be read, each once."""
    found = (getattr(tensor, "source", None) for thing in things for tensor in stored(thing))
    return [*dict.fromkeys(one for one in found if one is not None and one.is_local)]


def look(expected: str, files: Sequence[Source], ticket: str = "") -> str | None:
    """Say on a worker in what it differs from whoever asks, if it does.

    Each file is opened and recognised by its content, which is not done again where it is read.

    Parameters
    ----------
    expected
        The version of whoever asks.
    files
        What will be read.
    ticket
        Under what a worker that is alike remembers that it was asked.
    """
    if version() != expected:
        return f"it has ftdiff {version()}, and here is {expected}"
    for file in files:
        try:
            with file.lend(0, min(1, file.size)):
                pass
        except BadFile as error:
            return str(error)
    _ASKED.add(ticket)
    return None


#: On a worker, the tickets of those who asked it.
_ASKED: set[str] = {""}
#: Seconds that a worker which differs holds a task before it refuses it, or it would get the most.
_PAUSE = 1.0


def guarded(
    expected: str, ticket: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call `fn` on a worker; one that came after the others were asked looks for itself first.

    Raises
    ------
    BrokenExecutor
        It differs, and measures nothing.
    """
    if ticket not in _ASKED or version() != expected:
        pieces = [piece for held in args if isinstance(held, list) for piece in held]
        told = look(expected, sources(pieces))
        if told is not None:
            time.sleep(_PAUSE)
            raise BrokenExecutor(told)
    return fn(*args, **kwargs)


def refusal(address: str, out: Mapping[str, Any]) -> str:
    """Say that no worker can measure: who differs, and in what.

    Parameters
    ----------
    address
        How the cluster is called.
    out
        By worker, what it said, or what went wrong there.
    """
    what = "its worker" if len(out) == 1 else f"none of its {len(out)} workers"
    return f"{address}: {what} can{'not' if len(out) == 1 else ''} measure this: {_named(out)}"


def left_out(address: str, out: Mapping[str, Any], left: int) -> str:
    """Say which workers get no task, in what they differ, and how many `left` are alike."""
    rest = "1 other measures" if left == 1 else f"{left} others measure"
    some = "1 worker is" if len(out) == 1 else f"{len(out)} workers are"
    return f"{address}: {some} left out, and {rest}: {_named(out)}"


def _named(out: Mapping[str, Any]) -> str:
    told = [f"{who}: {_told(answer)}" for who, answer in [*out.items()][:_NAMED]]
    more = f"; and {len(out) - _NAMED} more" if len(out) > _NAMED else ""
    return f"{'; '.join(told)}{more}"


def _told(answer: Any) -> str:
    if isinstance(answer, ImportError):
        return f"it lacks what this ftdiff needs ({one_line(answer, _LONGEST)})"
    return one_line(answer if str(answer) else type(answer).__name__, _LONGEST)
