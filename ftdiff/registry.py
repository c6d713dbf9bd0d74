"""A dict that, asked for a name it does not hold, suggests the near ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
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
            raise UnknownName(self._complaint(name)) from None

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

    def _complaint(self, name: str) -> str:
        near = get_close_matches(name, self._items, n=3, cutoff=0.5)
        said = " or ".join(repr(other) for other in near)
        known = ", ".join(self._items)
        hint = f"did you mean {said}?" if near else f"there are: {known}"
        return f"no {self.kind} is called {name!r}; {hint}"
