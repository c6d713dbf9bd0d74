"""Names: a dict that suggests the near ones, and one name where several are taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, TypeVar

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


def several(given: Any) -> tuple[Any, ...]:
    """Return what was given one by one; a lone name, path or state dict is one of them.

    >>> several("rotation"), several(["rotation", "angle"])
    (('rotation',), ('rotation', 'angle'))
    """
    lone = isinstance(given, str | bytes | PathLike | Mapping) or not isinstance(given, Iterable)
    return (given,) if lone else tuple(given)
