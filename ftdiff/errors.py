"""Every error raised on purpose: one line that names the thing, what was found, and the way out.

FtdiffError
├── BadFile          a file is not what it claims to be (truncated, lying header, not a checkpoint)
├── BadAdapter       an adapter's files contradict each other or its configuration
│   └── Irreproducible   the files do not determine the change, and why
├── Mismatch         base and tuned cannot be compared
├── UnknownName      a metric, style or format that does not exist, with near names
├── BadCall          the call contradicts itself
└── MissingExtra     a library that `pip install ftdiff` does not bring
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher, get_close_matches
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


class FtdiffError(Exception):
    """The root of the tree; the shell prints its message in one line and exits with 2."""


class BadFile(FtdiffError):
    """A file that cannot be read as what it claims to be."""


class BadAdapter(FtdiffError):
    """An adapter whose files contradict each other or its configuration."""


class Irreproducible(BadAdapter):
    """A change that the adapter's files do not determine."""


class Mismatch(FtdiffError):
    """A base and a fine-tune that cannot be compared."""


class UnknownName(FtdiffError, KeyError):
    """A name that is not registered; the message suggests near ones."""

    __str__ = Exception.__str__


class BadCall(FtdiffError, ValueError):
    """A call whose parts contradict each other."""


class MissingExtra(FtdiffError, ImportError):
    """An optional library that is not installed; the message is the command that installs it."""


def near(word: object, known: Iterable[object]) -> str:
    """Suggest the words that are nearly the one given, whatever its case; "" for none.

    >>> near("JSN", ["json", "csv"])
    "; did you mean 'json'?"
    """
    lower = {str(one).lower(): str(one) for one in known}
    asked = str(word).lower()
    found = [asked] if asked in lower else get_close_matches(asked, lower, n=3, cutoff=0.5)
    alike = [SequenceMatcher(None, one, asked).ratio() for one in found]
    found = [one for one, ratio in zip(found, alike, strict=True) if ratio > alike[0] - 0.1]
    return f"; did you mean {' or '.join(repr(lower[one]) for one in found)}?" if found else ""


def unknown(kind: str, name: object, known: Iterable[object]) -> UnknownName:
    """Return the error of a name that is not known: it suggests the near ones, or tells all.

    >>> unknown("colour", "Gren", ["blue", "green"])
    UnknownName("no colour is called 'Gren'; did you mean 'green'?")
    """
    every = [*known]
    hint = near(name, every) or f"; there are: {', '.join(map(str, every))}"
    return UnknownName(f"no {kind} is called {name!r}{hint}")


def one_line(text: object, most: int | None = None) -> str:
    """Show what would break a line, or steer a terminal, escaped: names come from files.

    What is longer than `most` is cut.

    >>> one_line("q_proj\\n\\x1b[2J")
    'q_proj\\\\n\\\\x1b[2J'
    """
    whole = str(text)
    kept = whole if most is None or len(whole) <= most else f"{whole[:most]}…"
    if kept.isprintable():
        return kept
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in kept)


#: What JSON need not escape, and a terminal may obey: DEL, the second set of control characters,
#: and what turns the direction of writing.
_STEERING = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    """Return JSON of the same values, in which nothing steers the terminal that it is printed on.

    >>> inert('{"q\u202e": 1}')
    '{"q\\\\u202e": 1}'
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def attempt(
    name: str, work: Callable[[], T], foreseen: tuple[type[FtdiffError], ...] = (FtdiffError,)
) -> T | str:
    """Do the work on one tensor, or return why it cannot be done: that costs this tensor alone.

    What is foreseen is returned as it is said, and so is want of memory; the rest is raised.

    >>> attempt("q_proj", lambda: len("abc"))
    3
    """
    try:
        return work()
    except foreseen as error:
        return str(error)
    except MemoryError as error:
        told = f" ({error})" if str(error) else ""
        return f"{name}: not enough memory{told}"


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional library where it is used, or say how to install it.

    Raises
    ------
    MissingExtra
        The library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} needs {module.partition('.')[0]}: pip install 'ftdiff[{extra}]'"
        ) from error
