"""What a note on modules that would not load says of ΔW, once it is known what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ftdiff.adapters.loading.sentences import WOULD_NOT_LOAD
from ftdiff.comparison.plan import Plan
from ftdiff.formats.note import Note


def completed(note: Note | str, plan: Plan, unreadable: Collection[str]) -> Note | str:
    """Return a note with what ΔW is of, where it says that modules would not be filled.

    Parameters
    ----------
    note
        Any note.
    plan, unreadable
        What was to be measured, and the names of what could not be.
    """
    if not isinstance(note, Note) or note.code != WOULD_NOT_LOAD:
        return note
    broken = {*unreadable}
    measured = {_module(c.address.name) for c in plan.changes if c.address.name not in broken}
    lost = {*note.data["lost"]} - {name for whole in broken for name in _above(whole)}
    return Note(note.code, f"{note}; {_of(measured, lost, note)}", **note.data)


def _of(measured: set[str], lost: set[str], note: Note) -> str:
    """Say whether the modules that would not load were measured as if they did, or which were."""
    there = {path for name in measured for path in (name, *_above(name))}
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
