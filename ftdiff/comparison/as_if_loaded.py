"""What a note on modules that would not load says of ΔW, once it is known what was measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ftdiff.adapters.account import Fate
from ftdiff.adapters.loading.sentences import WOULD_NOT_LOAD
from ftdiff.comparison.plan import Plan
from ftdiff.formats.note import Note


def completed(
    note: Note | str,
    plan: Plan,
    unreadable: Collection[str],
    fates: Callable[[], Mapping[str, Fate]],
) -> Note | str:
    """Return a note with what ΔW is of, where it says that modules would not be filled.

    Parameters
    ----------
    note
        Any note.
    plan, unreadable
        What was to be measured, and the names of what could not be.
    fates
        Returns what became of each key of the files: what the base stores joined is measured under
        other names than its own.
    """
    if not isinstance(note, Note) or note.code != WOULD_NOT_LOAD:
        return note
    broken = {*unreadable}
    measured = {_module(c.address.name) for c in plan.changes if c.address.name not in broken}
    lost = {*note.data["lost"]} - {name for whole in broken for name in _above(whole)}
    read = {key for key, fate in fates().items() if fate == "read"}
    return Note(note.code, f"{note}; {_of(measured, lost, read, note)}", **note.data)


def _of(measured: set[str], lost: set[str], read: set[str], note: Note) -> str:
    """Say whether the modules that would not load were measured as if they did, or which were."""
    there = {path for name in measured for path in (name, *_above(name))}
    there |= {path for key in read for name in _above(key) for path in (name, *_below(name))}
    rows = (path.removesuffix(".token_adapter") for path in lost)  # of an embedding
    if len(lost) == len({*note.data["lost"]}) and there.issuperset(rows):
        return "ΔW is measured as if it were"
    if not measured:
        return "no ΔW could be read"
    if len(measured) == 1:
        return "ΔW is of the one module that could be read"
    return f"ΔW is of the {len(measured):,} modules that could be read"


def _module(name: str) -> str:
    return name.rpartition(".")[0] or name


def _above(name: str) -> Iterable[str]:
    """Yield every path that a name is under."""
    path = name.rpartition(".")[0]
    while path:
        yield path
        path = path.rpartition(".")[0]


def _below(name: str) -> Iterable[str]:
    """Yield what is left of a path without its first words: a wrapper's, whatever it is called."""
    while name:
        name = name.partition(".")[2]
        yield name
