"""How a result shows itself in a notebook: a verdict, its sentences, a few rows, as inert HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from ftdiff.errors import one_line
from ftdiff.numbers import MISSING, written

# A cell's output is read at a glance; the frame holds the rest.
_ROWS, _SENTENCES = 40, 12


def shown(title: str, sentences: Iterable[str] = (), rows: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return a fragment of HTML in which names from files are text.

    Parameters
    ----------
    title
        What it is, in a line.
    sentences
        What is to be said; of many, the first.
    rows
        A table, all rows with the same columns; what is missing is a dash, and a column that is
        empty throughout is left out.

    >>> shown("a <b>", ["c"])
    '<p><b>a &lt;b&gt;</b></p><ul><li>c</li></ul>'
    """
    parts = [f"<p><b>{_safe(title)}</b></p>"]
    said, held = list(sentences), list(rows)
    if said:
        items = "".join(f"<li>{_safe(line)}</li>" for line in said[:_SENTENCES])
        parts.append(f"<ul>{items}</ul>{_more(len(said) - _SENTENCES)}")
    names = [name for name in (held[0] if held else ()) if any(not _missing(r[name]) for r in held)]
    if names:
        lines = [_row("th", names), *(_row("td", [r[n] for n in names]) for r in held[:_ROWS])]
        parts.append(f"<table>{''.join(lines)}</table>{_more(len(held) - _ROWS)}")
    return "".join(parts)


def _row(tag: str, cells: Iterable[Any]) -> str:
    first, *rest = (_safe(_written(cell)) for cell in cells)
    made = [f'<{tag} style="text-align: left">{first}</{tag}>']
    return f"<tr>{''.join([*made, *(f'<{tag}>{cell}</{tag}>' for cell in rest)])}</tr>"


def _written(value: Any) -> str:
    return MISSING if _missing(value) else written(value)


def _missing(value: Any) -> bool:
    return value is None or str(value) in ("", "<NA>", "nan")  # pandas' NA compares with nothing


def _more(count: int) -> str:
    return f"<p>… and {count:,} more</p>" if count > 0 else ""


def _safe(text: str) -> str:
    return html.escape(one_line(text))
