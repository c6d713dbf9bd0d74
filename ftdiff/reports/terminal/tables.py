"""Tables and lists for a terminal: they fit its width, and names in them are text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table

from ftdiff.errors import one_line
from ftdiff.numbers import written

#: Rows of what is listed by name.
ROWS = 12


def new_console() -> Console:
    """Return a console for standard output; a pipe has no width to fit."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def write_table(console: Console, title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table of the first columns that fit; what is empty throughout is left out."""
    rows = [*rows]
    columns = dict.fromkeys(name for row in rows for name in row)  # some rows lack some
    cells = [{name: written(row.get(name)) for name in columns} for row in rows]
    if not cells:
        return
    if title:
        console.print(f"[bold]{title}[/]")
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    names = [name for name in columns if any(row[name] not in ("", "–") for row in cells)]
    room = console.width
    shown: list[str] = []
    for name in names:
        width = max(len(name), *(len(row[name]) for row in cells)) + 2
        if shown and width > room:
            break
        room -= width
        shown.append(name)
        table.add_column(name, justify="left" if name == names[0] else "right", overflow="fold")
    for row in cells:
        table.add_row(*(escape(row[name]) for name in shown))
    console.print(table)


def write_named(console: Console, heading: str, listed: Mapping[str, str]) -> None:
    """Print a heading and what is named, each with what is said of it; nothing for nothing."""
    if not listed:
        return
    console.print(f"[bold]{heading}[/] ({len(listed)})")
    for name, said in list(listed.items())[:ROWS]:
        console.print(f"  {escape(name)}  [dim]{escape(said)}[/]", soft_wrap=True)
    if len(listed) > ROWS:
        console.print(f"  … and {len(listed) - ROWS} more")


def escape(text: str) -> str:
    """Names come from files: neither markup nor control characters in them count."""
    return markup.escape(one_line(text))
