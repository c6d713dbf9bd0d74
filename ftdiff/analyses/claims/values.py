"""Values of a claim, written for people, and two of them held against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ftdiff.analyses.claims.predicate import decoded, is_number
from ftdiff.errors import one_line

#: Numbers of findings come from functions that C libraries round differently.
_NEAR = 1e-9
_LONGEST = 200


def two(what: str, claimed: Any, found: Any) -> str:
    """Say that a value is one in the claim and another in the files."""
    return f"{what} is {value(claimed)} in the claim and {value(found)} in the files"


def value(held: Any) -> str:
    """Write a value for people; a number in decimal too.

    >>> value("0x1.8000000000000p+0")
    '0x1.8p+0 (1.5)'
    """
    if held is None:
        return "missing"
    if is_number(held):
        number = decoded(held)
        text, _, power = str(held).partition("p")
        return f"{text.rstrip('0').rstrip('.')}p{power} ({number:.8g})"
    if isinstance(held, list) and all(isinstance(side, int) for side in held):
        return "×".join(map(str, held)) or "scalar"
    return shown(held)


def shown(held: Any) -> str:
    """Write a name or a value from a file in one line, cut where it is long."""
    return one_line(held, _LONGEST)


def plain_of(value: Any) -> Any:
    """Return values as JSON gives them back."""
    return json.loads(json.dumps(value))


def alike(claimed: Any, found: Any) -> bool:
    """Say whether two values are the same, and their numbers as near as functions round."""
    if is_number(claimed) and is_number(found):
        claimed, found = decoded(claimed), decoded(found)
    if isinstance(claimed, float) and isinstance(found, float):
        return math.isclose(claimed, found, rel_tol=_NEAR, abs_tol=1e-300)
    if isinstance(claimed, Mapping) and isinstance(found, Mapping):
        same = claimed.keys() == found.keys()
        return same and all(alike(one, found[key]) for key, one in claimed.items())
    if isinstance(claimed, list) and isinstance(found, list):
        return len(claimed) == len(found) and all(map(alike, claimed, found))
    return type(claimed) is type(found) and bool(claimed == found)


def first_difference(claimed: Any, found: Any, path: str) -> tuple[str, Any, Any]:
    """Return where two values differ first, and both there."""
    if isinstance(claimed, Mapping) and isinstance(found, Mapping):
        for key in (*claimed, *(key for key in found if key not in claimed)):
            if not alike(claimed.get(key), found.get(key)):
                return first_difference(claimed.get(key), found.get(key), f"{path}.{shown(key)}")
    if isinstance(claimed, list) and isinstance(found, list):
        for i in range(max(len(claimed), len(found))):
            pair = [one[i] if i < len(one) else None for one in (claimed, found)]
            if not alike(*pair):
                rule = next((one["rule"] for one in pair if isinstance(one, Mapping)
                             and isinstance(one.get("rule"), str)), str(i))  # fmt: skip
                return first_difference(pair[0], pair[1], f"{path}[{shown(rule)}]")
    return path, claimed, found
