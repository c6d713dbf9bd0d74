"""What a configuration says it adapted, held against what the file has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ftdiff.formats.note import Note

#: The code of a note on targets that the file has no tensor for; its data are the `targets`.
TARGET_MISSING = "target-missing"


def absent(config: Mapping[str, Any], paths: Iterable[str]) -> tuple[Note, ...]:
    """Return a note on the listed targets of which the file has no module.

    Parameters
    ----------
    config
        The adapter's. Targets that are an expression are not held against anything.
    paths
        The modules that the file has tensors for.
    """
    ends = {path[at:] for path in paths for at in _starts(path)}
    wanted = [name for name in _names(config.get("target_modules")) if not _left_out(config, name)]
    missing = [name for name in wanted if name not in ends]
    for name in _names(config.get("target_parameters")):
        module = name.rpartition(".")[0]
        if module and module not in ends:
            missing.append(name)
    if not missing:
        return ()
    told = ", ".join(sorted(missing)[:8]) + (", …" if len(missing) > 8 else "")
    text = f"adapter_config.json targets {told}, but the file has no tensor for them"
    return (Note(TARGET_MISSING, text, targets=sorted(missing)),)


def _left_out(config: Mapping[str, Any], name: str) -> bool:
    """Say whether `exclude_modules` may take a target out: an expression may take any."""
    told = config.get("exclude_modules")
    ends = {name[at:] for at in _starts(name)}
    return (isinstance(told, str) and bool(told)) or not ends.isdisjoint(_names(told))


def _names(told: Any) -> list[str]:
    return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []


def _starts(path: str) -> list[int]:
    return [0, *(at + 1 for at, letter in enumerate(path) if letter == ".")]
