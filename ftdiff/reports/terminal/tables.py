"""Tables and lists for a terminal: they fit its width, and names in them are text."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich import markup
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftdiff.errors import one_line
from ftdiff.naming.labels import distinct
from ftdiff.numbers import written

#: Rows of what is listed by name.
ROWS = 12
#: A word with the blanks after it; the first, with those before it.
_WORD = re.compile(r"\s*\S+\s*")
#: Letters of a name that a table keeps, however narrow the terminal.
_SHORTEST = 24
#: Columns that a line is given, however narrow the terminal.
_NARROWEST = 20


def new_console() -> Console:
    """Return a console for standard output; a pipe has no width to fit, and `:x:` is no emoji."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        return Console(highlight=False, emoji=False, width=200)
    if console.is_dumb_terminal and "COLUMNS" not in os.environ:  # which rich takes to have 80
        with suppress(OSError, ValueError):
            console.width = os.get_terminal_size(sys.stdout.fileno()).columns or console.width
    return console


def write_table(console: Console, title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table of the first columns that fit; what is empty throughout is left out.

    Columns that do not fit are named under it.
    """
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
    if console.is_terminal:
        _shorten(cells, names, room)
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
    if left := [name for name in names if name not in shown]:
        write_line(console, f"[dim]too narrow for: {escape(', '.join(left))}[/]")


def _shorten(cells: Sequence[dict[str, str]], names: Sequence[str], room: int) -> None:
    """Shorten the first column in the middle of its texts, so that more of the others fit."""
    first, *others = names or [""]
    taken = sum(max(len(name), *(len(row[name]) for row in cells)) + 2 for name in others)
    most = max(room - taken - 2, len(first), _SHORTEST)
    if others and any(len(row[first]) > most for row in cells):
        for row, text in zip(cells, distinct([row[first] for row in cells], most), strict=True):
            row[first] = text


def write_line(console: Console, text: str, indent: int = 0, hang: int = 0) -> None:
    """Print a line of markup: broken between words on a terminal, in one piece into a pipe.

    Parameters
    ----------
    indent, hang
        Blanks before each line, and before each but the first beside these.
    """
    whole = Text.from_markup(text, emoji=False)
    room = max(console.width - indent - hang, _NARROWEST)
    for i, line in enumerate(whole.divide(_breaks(whole.plain, room, console.is_terminal))):
        line.rstrip()
        blanks = " " * (indent + (hang if i else 0))
        console.print(Text(blanks).append_text(line), soft_wrap=True)


def write_text(text: str) -> None:
    """Print plain text to standard output, each of its lines as `write_line` does."""
    console = new_console()
    for line in text.splitlines():
        bare = line.lstrip()
        write_line(console, escape(bare), indent=len(line) - len(bare), hang=2)


def _breaks(text: str, room: int, is_terminal: bool) -> Iterator[int]:
    """Yield where lines begin: only before a word, so that a path stays whole."""
    used = 0
    for word in _WORD.finditer(text) if is_terminal else ():
        if used and used + cell_len(word[0].rstrip()) > room:
            yield word.start()
            used = 0
        used += cell_len(word[0])


def write_named(console: Console, heading: str, listed: Mapping[str, str]) -> None:
    """Print a heading and what is named, each with what is said of it; nothing for nothing."""
    if not listed:
        return
    console.print(f"[bold]{heading}[/] ({len(listed)})")
    for name, said in list(listed.items())[:ROWS]:
        write_line(console, f"{escape(name)}  [dim]{escape(said)}[/]", indent=2)
    write_rest(console, len(listed))


def write_rest(console: Console, count: int) -> None:
    """Say how many of `count` things `ROWS` of them leave out, if any."""
    if count > ROWS:
        console.print(f"  … and {count - ROWS:,} more")


def escape(text: str) -> str:
    """Names come from files: neither markup nor control characters in them count."""
    return markup.escape(one_line(text))
