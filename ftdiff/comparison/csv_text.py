"""Tables as CSV, in which names from files are text: no formula, nothing that steers a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from ftdiff.errors import one_line

if TYPE_CHECKING:
    import pandas as pd

V = TypeVar("V")

#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@")


def as_text(value: V) -> V | str:
    """Return a cell as it is written: a text that a spreadsheet would compute, quoted.

    >>> as_text("=1+1"), as_text("a\\x1b[2J"), as_text(-1.5)
    ("'=1+1", 'a\\\\x1b[2J', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write(frame: pd.DataFrame, to: Path | TextIO, *, index: bool = False) -> None:
    """Write a frame; its names and its texts are as `as_text` has them."""
    shown = frame.copy(deep=False)
    for at, dtype in enumerate(frame.dtypes):
        if not _is_number(dtype):
            texts: Any = frame.iloc[:, at].map(as_text, na_action="ignore")
            shown.isetitem(at, texts)
    shown.columns = [as_text(name) for name in frame.columns]
    if index:
        shown.index = frame.index.map(as_text)
    shown.to_csv(to, index=index)


def _is_number(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "biufc"
