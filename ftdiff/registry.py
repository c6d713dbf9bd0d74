"""A dict that, asked for a name it does not hold, suggests the near ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import TypeVar

from ftdiff.errors import UnknownName

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names to things of one kind.

    >>> colours = Registry("colour", {"blue": 1, "green": 2})
    >>> colours["blue"]
    1
    >>> colours["gren"]
    Traceback (most recent call last):
    ...
    ftdiff.errors.UnknownName: no colour is called 'gren'; did you mean 'green'?
    """

    def __init__(self, kind: str, items: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._items: dict[str, T] = dict(items or {})

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise unknown(self.kind, name, self._items) from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, name: str, item: T) -> T:
        """Hold `item` under `name` and return it; a later one of the same name replaces it."""
        self._items[name] = item
        return item


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
