"""The lazy tensors that a recipe is made from: as it sees them, and as the file stores them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from ftdiff.tensors import FileTensor, LazyTensor, Rows

#: What holds no tensor, and is most of what there is.
_LEAVES = (int, float, str, type(None))
#: The fields of every class that was met: none of one that is no dataclass.
_NAMES: dict[type, tuple[str, ...]] = {}


def held(thing: Any, word: str = "") -> Iterator[tuple[str, LazyTensor]]:
    """Yield the lazy tensors in a recipe, its maker, and what that is made of, by field name."""
    if isinstance(thing, Rows):
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
        if type(one) is FileTensor:  # a place in a file: it is made of no other, and most are such
            yield one
            continue
        if hasattr(one, "window"):
            yield one
        if names := _fields(type(one)):
            inside: Iterable[Any] = [getattr(one, name) for name in names]
        else:
            inside = one if isinstance(one, tuple) else ()
        waiting += [part for part in inside if not isinstance(part, _LEAVES)][::-1]


def is_far(thing: Any) -> bool:
    """Say whether any tensor of it lies in a file of another machine."""
    return any(isinstance(one, FileTensor) and not one.source.is_local for one in stored(thing))


def _inside(thing: Any, word: str) -> Iterator[tuple[str, Any]]:
    if names := _fields(type(thing)):
        yield from ((name, getattr(thing, name)) for name in names)
    elif isinstance(thing, tuple):
        yield from ((word, part) for part in thing)


def _fields(kind: type) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(one.name for one in fields(kind)) if is_dataclass(kind) else ()
    return _NAMES[kind]
