"""A verdict with its sentences, its rows and what it was made from, as a document and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def typed(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Make a frame of these columns, each of its type, from a record for each row."""
    import pandas as pd

    values = {name: [row.get(name) for row in rows] for name in columns}
    return pd.DataFrame(values, dtype="object").astype(dict(columns))


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as values that JSON holds: numbers to 15 decimals, null where not finite."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def frame_of(rows: Any, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame of rows that `plain` made.

    Raises
    ------
    TypeError, ValueError
        They are none.
    """
    held = [{name: _whole(value) for name, value in row.items()} for row in rows]
    if any(row.get(name) is not None and type(row[name]) is not str
           for row in held for name, kind in columns.items() if kind == "string"):  # fmt: skip
        raise TypeError("a text is none")
    return typed(held, columns)


def words(stored: Mapping[str, Any]) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Return a document's verdict, its sentences, and what it was made from.

    Raises
    ------
    TypeError, KeyError
        One of them is missing or of another type.
    """
    verdict, sentences, about = stored["verdict"], stored["sentences"], stored.get("about", {})
    texts = isinstance(sentences, list) and all(isinstance(one, str) for one in sentences)
    texts = texts and bool(sentences)  # the first says the verdict
    if not isinstance(verdict, str) or not texts or not isinstance(about, dict):
        raise TypeError("verdict, sentences or about")
    return verdict, tuple(sentences), about


def _whole(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
