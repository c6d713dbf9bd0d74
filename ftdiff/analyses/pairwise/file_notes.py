"""What is odd in the files of many fine-tunes, said once for all that it holds of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ftdiff.analyses.finding import Finding, listed
from ftdiff.analyses.pairwise.alignment import Lineup
from ftdiff.errors import one_line
from ftdiff.formats.note import Note

#: Codes of what only describes a file: nothing hangs on it.
_PLAIN = ("trainer-metadata", "scales-in-metadata", "several-kinds", "dequantised")


def noted(lineup: Lineup) -> dict[str, list[dict[str, Any]]]:
    """Return, by fine-tune, notes on its files: a code, its data, and the sentence as `text`."""
    found = {
        name: [
            {**note.record(), "text": str(note)}
            for note in one.notes
            if isinstance(note, Note) and note.code not in _PLAIN
        ]
        for name, one in zip(lineup.names, lineup.tuned, strict=True)
    }
    return {name: notes for name, notes in found.items() if notes}


def said(about: Mapping[str, Any]) -> Iterator[Finding]:
    """Say each sentence once, with the fine-tunes of which it is true."""
    by: dict[tuple[str, str], list[str]] = {}
    for name, notes in about.get("noted", {}).items():
        for note in notes:
            by.setdefault((str(note["code"]), str(note["text"])), []).append(name)
    for (code, text), names in by.items():
        message = f"{listed(names)}: {one_line(text, 600)}"
        yield Finding("noted", "note", message, {"code": code, "names": names})
