"""What was asked, as a digest: the same in any process that asks the same of the same bytes.

Files stand in it by what they hold and the time of their last change, never by where they lie.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np

from ftdiff.tensors.identity import content

_PLAIN = (type(None), bool, int, float, str, bytes)
_SIZE = 16


class Unkeyed(Exception):
    """What has no name that another process would know it by."""


class Keys:
    """Digests of things that are not changed while this lives; what they share is taken once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}

    def of(self, *asked: Any) -> bytes:
        """Return the digest of some things together.

        Raises
        ------
        Unkeyed
            There is a thing among them that only this process knows.
        BadFile
            A file that they lie in is not any more what it was.
        """
        return self._of(asked)

    def _of(self, thing: Any) -> bytes:
        """Return a digest; of what is plain its text, which stands in the digest of the whole."""
        if isinstance(thing, _PLAIN):
            return f"{type(thing).__name__} {thing!r}".encode(errors="surrogatepass")
        shared = not isinstance(thing, tuple)
        if shared and (known := self._known.get(id(thing))) is not None:
            return known[1]
        found = self._made(thing)
        if shared:
            self._known[id(thing)] = thing, found  # held, so that no other takes its number
        return found

    def _made(self, thing: Any) -> bytes:
        if isinstance(thing, tuple | list):
            return _digest(type(thing).__name__, *map(self._of, thing))
        if isinstance(thing, Mapping):
            pairs = sorted((self._of(key), self._of(value)) for key, value in thing.items())
            return _digest("mapping", *(part for pair in pairs for part in pair))
        if isinstance(thing, Set):
            return _digest("set", *sorted(map(self._of, thing)))
        if isinstance(thing, np.ndarray):
            array = np.ascontiguousarray(thing)
            return _digest("array", str((array.dtype, array.shape)).encode(), array.tobytes())
        if isinstance(thing, np.generic | np.dtype | range):
            return _digest(type(thing).__name__, repr(thing).encode())
        if isinstance(thing, functools.partial):
            return _digest("partial", *map(self._of, (thing.func, thing.args, thing.keywords)))
        if isinstance(thing, type | FunctionType | BuiltinFunctionType):
            return _digest("name", _name(thing).encode())
        if hasattr(thing, "lend") and hasattr(thing, "identity"):
            if getattr(thing, "version", None) == "":  # its server does not say when it is another
                raise Unkeyed(str(thing))
            changed = getattr(thing, "stamp", (None,))[-1]
            return _digest("source", content(thing).encode(), repr(changed).encode())
        if is_dataclass(thing):
            values = [self._of(getattr(thing, one.name)) for one in fields(thing)]
            return _digest("record", _name(type(thing)).encode(), *values)
        raise Unkeyed(type(thing).__qualname__)


def _name(thing: Any) -> str:
    """Return where a function or a class of ours is defined; no other's is known by its name."""
    module, name = thing.__module__ or "", thing.__qualname__
    if module.partition(".")[0] != "ftdiff" or "<" in name:
        raise Unkeyed(f"{module}.{name}")
    return f"{module}.{name}"


def _digest(kind: str, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(kind.encode(), digest_size=_SIZE)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
