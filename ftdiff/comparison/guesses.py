"""What pairing had to guess, each in one line; strict callers have none of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ftdiff.comparison.alignment.experts import EXPERTS
from ftdiff.comparison.alignment.fusion_notes import JOINED
from ftdiff.comparison.alignment.transformers_names import RENAMED
from ftdiff.comparison.plan import Plan
from ftdiff.comparison.reasons import KINSHIP, LAYERS, MATCHED, REORDERED
from ftdiff.errors import Mismatch
from ftdiff.formats.note import Note

#: Codes of notes on what the files do not say by themselves.
GUESSED = (
    *(MATCHED, RENAMED, JOINED, EXPERTS, REORDERED, LAYERS, KINSHIP),
    *("translated", "names-of-xlabs", "row-order-restored", "row-order-unknown"),
)


def guesses(plan: Plan) -> tuple[Note, ...]:
    """Return the notes of a plan that say what was guessed to bring its sides together.

    Those are names that are not the same, experts and parts that one side stores as one tensor,
    layers and rows that stand elsewhere, rows in another program's order, and that a sample takes
    the fine-tune for no relative of the base.
    """
    sides = (side.notes for side in (plan.base, plan.tuned) if side is not None)
    held: Iterable[str] = (*(note for notes in sides for note in notes), *plan.notes)
    return tuple(dict.fromkeys(_guessed(held)))


def refuse(plan: Plan) -> Plan:
    """Return a plan in which nothing was guessed.

    Raises
    ------
    Mismatch
        Something was: it says what, in one line.
    """
    found = guesses(plan)
    if found:
        count = "1 guess" if len(found) == 1 else f"{len(found)} guesses"
        raise Mismatch(f"strict, and pairing took {count}: {'; '.join(found)}")
    return plan


def _guessed(notes: Iterable[str]) -> Iterator[Note]:
    for note in notes:
        if isinstance(note, Note) and note.code in GUESSED and _pairs(note.data):
            yield note


def _pairs(data: Mapping[str, object]) -> bool:
    """Say whether a note on layers is on some that were paired; others always are on pairs."""
    return "beyond" not in data and data.get("home") != {}
