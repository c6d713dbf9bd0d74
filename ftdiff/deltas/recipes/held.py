"""The lazy tensors that a recipe is made from: as it sees them, and as the file stores them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from ftdiff.tensors import FirstRows, LazyTensor


def held(thing: Any, word: str = "") -> Iterator[tuple[str, LazyTensor]]:
    """Yield the lazy tensors in a recipe, its maker, and what that is made of, by field name."""
    if isinstance(thing, FirstRows):
        yield from held(thing.tensor, word)
    elif hasattr(thing, "window"):
        yield word, thing
    else:
        for name, part in _inside(thing, word):
            yield from held(part, name)


def stored(thing: Any) -> Iterator[LazyTensor]:
    """Yield every lazy tensor in a recipe, and with one that is a view of others, those others."""
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if hasattr(one, "window"):
            yield one
        names = _fields(type(one))
        inside = [getattr(one, name) for name in names] if names else one
        if isinstance(inside, list | tuple):
            waiting += [part for part in reversed(inside) if _may_hold(type(part))]


def _inside(thing: Any, word: str) -> Iterator[tuple[str, Any]]:
    if names := _fields(type(thing)):
        yield from ((name, getattr(thing, name)) for name in names)
    elif isinstance(thing, tuple):
        yield from ((word, part) for part in thing)


@cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind)) if is_dataclass(kind) else ()


@cache
def _may_hold(kind: type) -> bool:
    return is_dataclass(kind) or issubclass(kind, tuple) or hasattr(kind, "window")
