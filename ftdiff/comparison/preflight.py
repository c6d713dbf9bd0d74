"""What every worker is asked before it measures: its version of ftdiff, and what files it sees."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftdiff.deltas.recipes.held import stored
from ftdiff.errors import BadCall, BadFile, one_line
from ftdiff.tensors import Source

#: Workers that are named where they differ.
_NAMED = 3
#: Characters of what one of them says.
_LONGEST = 200


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


def look(expected: str, files: Sequence[Source]) -> str | None:
    """Say on a worker in what it differs from whoever asks, if it does.

    Each file is opened and recognised by its content, which is not done again where it is read.
    """
    if version() != expected:
        return f"it has ftdiff {version()}, and here is {expected}"
    for file in files:
        try:
            with file.lend(0, min(1, file.size)):
                pass
        except BadFile as error:
            return str(error)
    return None


def check(address: str, answers: Mapping[str, Any]) -> None:
    """Refuse a cluster of which some workers differ.

    Parameters
    ----------
    address
        How the cluster is called.
    answers
        By worker, what it said: None where it is alike, or what went wrong there.

    Raises
    ------
    BadCall
        It names who differs, and in what.
    """
    differing = {who: answer for who, answer in answers.items() if answer is not None}
    if not differing:
        return
    told = [f"{who}: {_told(answer)}" for who, answer in [*differing.items()][:_NAMED]]
    more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    raise BadCall(
        f"{address}: {len(differing)} of {len(answers)} workers cannot measure this: "
        f"{'; '.join(told)}{more}"
    )


def _told(answer: Any) -> str:
    if isinstance(answer, ImportError):
        return f"it lacks what this ftdiff needs ({one_line(answer, _LONGEST)})"
    return one_line(answer if str(answer) else type(answer).__name__, _LONGEST)
