"""Pickles are read as records; nothing in one is ever called.

A reader says which globals have a meaning and what stands for each: functions of ours, constants,
or inert records. Any other name is refused before anything is done with it. The interpreter is the
standard library's in Python, whose memo is a dict: the one in C allocates what an index in the
file asks for.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

#: Bytes of pickle that are interpreted: a model of 100,000 tensors has 20 MB.
LARGEST = 256 << 20
#: Parts of a key that is a tuple, at most.
_LONGEST = 64


class Refused(Exception):
    """The pickle names something that has no meaning to its reader, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of ours that stands for one of the pickle's."""

    call: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.call(*arguments)


@dataclass(frozen=True, slots=True)
class Constant:
    """A class or a value that the pickle names and that is never called."""

    value: Any


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of records: an instance of it is a `Record` of the attributes that it was given."""

    name: str


@dataclass(slots=True, eq=False)
class Record:
    """An instance of a `Kind`: what it is, and its attributes or whatever its state was."""

    kind: str
    state: Any = field(default=None)

    def get(self, name: str) -> Any:
        """Return an attribute; None where it has none of that name."""
        return self.state.get(name) if isinstance(self.state, dict) else None


#: By module and name, what stands for a global.
Globals = Mapping[tuple[str, str], Function | Constant | Kind]


def read(
    raw: bytes,
    known: Globals,
    storage: Callable[[Any], Any] | None = None,
) -> Any:
    """Interpret a pickle: containers, plain values, and what `known` stands for.

    Parameters
    ----------
    raw
        The pickle.
    known
        The globals that have a meaning.
    storage
        Makes what a persistent id stands for.

    Raises
    ------
    Refused
        It names anything else, or is no pickle.
    """
    if len(raw) > LARGEST:
        raise Refused(f"{len(raw):,} bytes of pickle are too many")
    try:
        return _Interpreter(raw, known, storage).load()
    except (
        *(AttributeError, EOFError, IndexError, KeyError, MemoryError, OverflowError),
        *(pickle.UnpicklingError, RecursionError, TypeError, ValueError, struct.error),
    ) as error:  # whatever a damaged stream makes of the stack
        raise Refused(f"its pickle is damaged ({type(error).__name__}: {error})") from error


def key(value: Any) -> Any:
    """Return a key of a dict, or an entry of a set.

    Raises
    ------
    Refused
        It holds containers: a few bytes of pickle can nest them so that hashing has no end.
    """
    parts = value if isinstance(value, tuple | frozenset) else ()
    if len(parts) > _LONGEST or any(isinstance(part, tuple | frozenset) for part in parts):
        raise Refused("it has a key that no state dict has")
    return value


def _with_keys(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """Return an instruction that looks at those keys on the stack before it is carried out."""

    def checked(self: _Interpreter) -> None:
        for one in self.stack[keys]:
            key(one)
        load(self)

    return checked


class _Interpreter(pickle._Unpickler):
    """The standard library's, without what a record of tensors has no use for."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, raw: bytes, known: Globals, storage: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(raw), encoding="utf-8")
        self._known, self._storage = known, storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global; refuse it where nothing does."""
        found = self._known.get((module, name))
        if found is None:
            raise Refused(f"it names {module}.{name}, which is no part of a state dict")
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Return what a persistent id stands for."""
        if self._storage is None:
            raise Refused("it names a storage, and has none")
        return self._storage(pid)

    def _call(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Function) or not isinstance(arguments, tuple):
            raise Refused("it calls what is no function of a state dict")
        self.stack.append(called(*arguments))

    def _make(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Kind):
            raise Refused("it makes an instance of what is no class of a state dict")
        self.stack.append(Record(kind.name, arguments or None))

    def _build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Record):
            self.stack[-1].state = state
        # attributes of a container or a tensor are metadata and hooks

    def _refuse(self) -> NoReturn:
        raise Refused("it uses an instruction that no state dict needs")

    for _opcode, _keys in (
        (pickle.SETITEM, slice(-2, -1)),
        (pickle.SETITEMS, slice(None, None, 2)),
        (pickle.DICT, slice(None, None, 2)),
        (pickle.ADDITEMS, slice(None)),
        (pickle.FROZENSET, slice(None)),
    ):
        dispatch[_opcode[0]] = _with_keys(dispatch[_opcode[0]], _keys)
    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _make
    dispatch[pickle.BUILD[0]] = _build
    for _opcode in (
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
        *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.PERSID),
    ):
        dispatch[_opcode[0]] = _refuse
