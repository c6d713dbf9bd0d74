"""What a diff was made from: sources, files, coverage, what was left out and why, versions."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ftdiff.comparison.plan import Plan
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note

_OF_ADAPTER = (
    *("peft_type", "base_model_name_or_path", "r", "lora_alpha", "use_rslora", "init_lora_weights"),
    *("target_modules", "modules_to_save", "bias", "trainable_token_indices"),
)


def about(
    base: Checkpoint | None, tuned: Tuned, plan: Plan, unreadable: Mapping[str, str]
) -> dict[str, Any]:
    """Return the record that is saved with a diff; plain values only.

    Keys
    ----
    base, tuned, kind
        Sources, and what the fine-tune is: "full", "lora", ….
    coverage
        Share of both sides' parameters that is compared.
    counts
        Number of tensors by what became of them while pairing.
    renamed
        Base name by tuned name, where the spelling differs.
    unmatched, unreadable
        Adapter keys without a recipe and tensors that could not be read, each with the reason.
    scalings
        The factor of each adapted tensor and where it came from.
    notes, reasons
        What is odd in the files, in sentences, and as records of a code and its data.
    adapter, config
        What an adapter's configuration, and each side's model configuration, say that an audit
        holds against the files.
    """
    notes = [*(base.notes if base is not None else ()), *tuned.notes]
    return {
        "base": base.source if base is not None else None,
        "tuned": tuned.source,
        "kind": tuned.kind,
        "coverage": plan.coverage,
        "counts": {
            "measured": len(plan.changes) - len(unreadable),
            "untouched": len(plan.untouched),
            "added": len(plan.added),
            "removed": len(plan.removed),
            "reshaped": len(plan.reshaped),
            "unreadable": len(unreadable),
        },
        "renamed": dict(plan.renamed),
        "unmatched": dict(tuned.unmatched),
        "unreadable": dict(unreadable),
        "scalings": dict(tuned.scalings),
        "notes": list(map(str, notes)),
        "reasons": [note.record() for note in notes if isinstance(note, Note)],
        "files": {
            "base": [dict(file) for file in (base.files if base is not None else ())],
            "tuned": [dict(file) for file in tuned.files],
        },
        "adapter": _adapter(tuned),
        "config": {
            "base": _model(base.config if base is not None else {}),
            "tuned": _model(tuned.config if tuned.kind == "full" else {}),
        },
        "versions": {"ftdiff": version(), "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def version() -> str:
    """Return ftdiff's version; "unknown" where it runs from a folder that was not installed."""
    try:
        return importlib.metadata.version("ftdiff")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _adapter(tuned: Tuned) -> dict[str, Any]:
    return _plain(tuned.config, _OF_ADAPTER) if tuned.kind != "full" else {}


def _model(config: Mapping[str, Any]) -> dict[str, Any]:
    return _plain(config, ("model_type", "num_hidden_layers", "vocab_size", "tie_word_embeddings"))


def _plain(config: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Return what is set of these, as values that JSON can hold."""
    given = {name: config[name] for name in wanted if config.get(name) is not None}
    return {
        name: sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        for name, value in given.items()
        if isinstance(value, (str, int, float, bool, list, dict, set, frozenset))
    }
