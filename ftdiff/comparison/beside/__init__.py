"""What differs beside the weights: settings, tokenizer, chat template; and code and pickles.

To add something that is said: its code and sentence in `kinds`, what yields its note in `listing`
or `differences`, and a rule in `analyses/audit/rules_files.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ftdiff.comparison.beside.differences import differing_files
from ftdiff.comparison.beside.fields import plain
from ftdiff.comparison.beside.kinds import note, sentence
from ftdiff.comparison.beside.listing import folder_notes
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.beside import SideFiles, side_files
from ftdiff.formats.note import Note

__all__ = ["beside_weights", "inside", "sentence"]

#: Libraries whose classes an adapter's `auto_mapping` names.
_LIBRARIES = ("transformers", "diffusers", "peft", "torch", "timm", "sentence_transformers")
_SNAPSHOT = re.compile(r"snapshots/([0-9a-f]{40})(?:/|$)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def beside_weights(
    base: Checkpoint | None,
    tuned: Tuned,
    rows: int | None = None,
    layers: Collection[tuple[int, int]] = (),
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Return what lies beside the weights of both sides, and notes on what is to be known of it.

    Parameters
    ----------
    base, tuned
        What was opened; what is in memory has nothing beside it but a configuration.
    rows
        How many rows the fine-tune's embedding of tokens has, where that is known.
    layers
        Counts of layers of both sides of which it is said already that they differ.
    """
    ours = _beside(base) if base is not None else SideFiles()
    theirs = _beside(tuned)
    notes = [*folder_notes(theirs, ours, "tuned", _named(tuned))]
    notes += [*_adapter(base, tuned)]
    if base is not None:
        notes += [
            note("beside-unreadable", file=f, why=w, side="base") for f, w in ours.unread.items()
        ]
        configs = _configs(base, tuned, theirs)
        notes += differing_files(ours, theirs, configs, rows=rows, layers=layers)
    return {"base": ours.record(), "tuned": theirs.record()}, tuple(notes)


def inside(tuned: Tuned) -> tuple[Note, ...]:
    """Say what lies beside the weights of one model that may run, or that cannot be read."""
    return (*folder_notes(_beside(tuned), named=_named(tuned)), *_adapter(None, tuned))


def _beside(opened: Checkpoint | Tuned) -> SideFiles:
    """Return what lies beside the weights: not those that were opened."""
    if not opened.files:
        return SideFiles()
    held = side_files(opened.source)
    weights = {str(file["name"]) for file in opened.files}
    return replace(held, pickles=tuple(name for name in held.pickles if name not in weights))


def _named(tuned: Tuned) -> frozenset[str]:
    """Return the files of which another note says that they were not read."""
    said = [note.data.get("unread") for note in tuned.notes if isinstance(note, Note)]
    return frozenset(name for names in said if isinstance(names, list) for name in names)


def _configs(base: Checkpoint, tuned: Tuned, theirs: SideFiles) -> tuple[Mapping[str, Any], ...]:
    """Return both models' configurations; an adapter's folder may have one of a model too."""
    whole = tuned.kind in ("full", "delta")
    return base.config, tuned.config if whole else theirs.settings.get("config.json", {})


def _adapter(base: Checkpoint | None, tuned: Tuned) -> Iterator[Note]:
    """Say what an adapter's configuration names beside its weights."""
    if tuned.kind in ("full", "delta"):
        return
    mapping = tuned.config.get("auto_mapping")
    if isinstance(mapping, Mapping):
        library, name = (mapping.get(key) for key in ("parent_library", "base_model_class"))
        if isinstance(library, str) and library.partition(".")[0] not in _LIBRARIES:
            called = plain(name) if isinstance(name, str) else "of no name"
            yield note("auto-mapping", library=plain(library), **{"class": called})
    named = tuned.config.get("revision")
    found = _SNAPSHOT.search(base.source.replace("\\", "/")) if base is not None else None
    if isinstance(named, str) and _COMMIT.fullmatch(named) and found and found[1] != named:
        yield note("base-revision", named=named, given=found[1])
