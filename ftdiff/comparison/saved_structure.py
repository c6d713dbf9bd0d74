"""What a saved diff says of the structure of a change, checked before sentences are made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ftdiff.comparison.saved_numbers import LARGEST

_REAL = (int, float)
#: What is read of each part, and its type; `list` and `dict` hold plain values.
_PARTS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "low_rank": {
        **dict.fromkeys(("rank", "low", "of", "exact", "roundings", "looked"), int),
        "by_component": dict, "scaled": bool,
    },
    "edits": {
        **dict.fromkeys(("matrices", "of", "writes", "along"), int),
        **dict.fromkeys(("cosine", "chance", "fit", "share"), _REAL),
        "strength": list, "components": dict, "layers": list, "tensors": list,
    },
    "base": {
        **dict.fromkeys(("scheme", "scale"), str),
        **dict.fromkeys(("slope", "error", "explained"), _REAL), "matrices": int,
    },
    "steps": dict.fromkeys(("changed", "one", "two", "least", "most"), _REAL),
    "zeros": {"share": _REAL, "matrices": int, "two_of_four": _REAL},
}  # fmt: skip
_LINE: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("tensor", "block", "component", "axis"), str),
    **dict.fromkeys(("count", "of"), int), "layer": (int, type(None)), "places": list,
}  # fmt: skip


def fault(found: Mapping[str, Any]) -> str:
    """Return what is wrong with the numbers of a saved structure; "" if nothing is.

    >>> fault({}), fault({"matrices": 1, "looked": "all"})
    ('', 'looked is no count')
    """
    if not found:
        return ""
    for name in ("matrices", "looked"):
        if type(found.get(name)) is not int:
            return f"{name} is no count"
    if not _plain(found):
        return "a number is not finite, or too large"
    for part, wanted in _PARTS.items():
        if part in found and not _has(found[part], wanted):
            return f"{part} has another form"
    lines = found.get("lines", [])
    if not isinstance(lines, list) or not all(_has(one, _LINE) for one in lines):
        return "lines have another form"
    return "" if _is_sound(found) else "a list has other values than numbers"


def _has(part: Any, wanted: Mapping[str, type | tuple[type, ...]]) -> bool:
    if not isinstance(part, dict) or not part.keys() >= wanted.keys():
        return False
    kinds = ((part[name], kind) for name, kind in wanted.items())
    return all(
        isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        for value, kind in kinds
    )


def _is_sound(found: Mapping[str, Any]) -> bool:
    edits, ranks = found.get("edits", {}), found.get("low_rank", {})
    strength = edits.get("strength", [0.0] * 3)
    numbers = [*strength, *ranks.get("by_component", {}).values(), *edits.get("layers", ())]
    for one in found.get("lines", ()):
        numbers += one["places"]
    return len(strength) == 3 and all(type(number) in _REAL for number in numbers)


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) < LARGEST
    return value is None or isinstance(value, str)
