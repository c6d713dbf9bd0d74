"""How two objects of settings differ, field by field, as plain values that are short."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from ftdiff.errors import one_line

#: A field, and its value on each side that has one: {"field": …, "base": …, "tuned": …}.
Field: TypeAlias = dict[str, Any]
#: Characters of a value that are kept, and fields that are named in a sentence.
_LONGEST, _NAMED = 80, 4
SIDES = {"base": "in the base only", "tuned": "in the fine-tune only"}


def differing(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> Iterator[Field]:
    """Yield the fields that differ; None is as good as missing, and missing is said by its side."""
    for name in dict.fromkeys([*base, *tuned]):
        one, other = base.get(name), tuned.get(name)
        if not same(one, other):
            values = {side: v for side, v in (("base", one), ("tuned", other)) if v is not None}
            yield {"field": one_line(_writable(str(name)), _LONGEST)} | {
                side: plain(value) for side, value in values.items()
            }


def same(one: Any, other: Any) -> bool:
    """Say whether two values of JSON are equal; NaN is itself."""
    return bool(one == other) or (one != one and other != other)


def plain(value: Any) -> Any:
    """Return a value short enough to be said, and such that JSON can hold it."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) < 1 << 53:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return one_line(_writable(text[: 4 * _LONGEST]), _LONGEST)


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def said(fields: Iterable[Mapping[str, Any]]) -> str:
    """Say in which fields two objects differ, the first few with their values.

    >>> said([{"field": "rope_theta", "base": 1e4, "tuned": 5e5}, {"field": "a", "tuned": 1}])
    'rope_theta 10000.0 → 500000.0; a 1 in the fine-tune only'
    """
    held = [*fields]
    parts = [_said(one) for one in held[:_NAMED]]
    more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
    return "; ".join(parts) + more


def _said(one: Mapping[str, Any]) -> str:
    if "base" in one and "tuned" in one:
        return f"{one['field']} {_value(one['base'])} → {_value(one['tuned'])}"
    side = "base" if "base" in one else "tuned"
    return f"{one['field']} {_value(one[side])} {SIDES[side]}"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
