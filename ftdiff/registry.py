"""A dict that, asked for a name it does not hold, suggests the near ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from ftdiff.errors import unknown

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
