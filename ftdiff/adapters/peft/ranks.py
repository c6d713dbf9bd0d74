"""The rank that a configuration gives a module, as it stands there: a number, or what is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.peft.patterns import first_match
from ftdiff.errors import one_line


def configured(
    config: Mapping[str, Any], path: str, name: str = "r", pattern: str = "rank_pattern"
) -> tuple[Any, str] | None:
    """Return what a configuration gives a module, and the field; None where it names none.

    Parameters
    ----------
    config, path
        The configuration, and the module's path: the first pattern that matches its end counts.
    name, pattern
        The field for all modules, and the map of those that have their own.

    Raises
    ------
    BadAdapter
        A pattern is none, or could be matched for hours.

    Examples
    --------
    >>> configured({"r": "8", "rank_pattern": {"q_proj": 4}}, "h.0.q_proj")
    (4, "rank_pattern 'q_proj'")
    """
    patterns = config.get(pattern)
    key = first_match(patterns, path, pattern) if isinstance(patterns, dict) else None
    if key is not None:
        return patterns[key], f"{pattern} {one_line(repr(key), 80)}"  # type: ignore[index]
    return (config[name], name) if name in config else None


def is_rank(value: Any) -> bool:
    """Say whether a value can be a rank: PEFT takes whole numbers alone, not even true or 8.0.

    >>> is_rank(8), is_rank("8"), is_rank(8.0), is_rank(True), is_rank(0)
    (True, False, False, False, False)
    """
    return type(value) is int and value > 0


def written(value: Any) -> str:
    """Return a value as it stands in the file, in one short line.

    >>> written("8"), written(None), written([8])
    ('"8"', 'null', '[8]')
    """
    return one_line(json.dumps(value, ensure_ascii=False, default=repr), 80)
