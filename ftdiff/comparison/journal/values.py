"""Outcomes as JSON and back, exact to the bit; reading them makes records of known classes only.

To have another class kept: `@kept_as(name)` on it, a dataclass of plain values, arrays and such.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from ftdiff.deltas.moments import Moments
from ftdiff.formats.quantised.grids import Grid

C = TypeVar("C", bound=type)


class Unkept(Exception):
    """An outcome that is not whole, or of a class that is not kept."""


@dataclass(frozen=True)
class _Record:
    made: type
    whole: Callable[[Any], bool]


_RECORDS: dict[str, _Record] = {}


def _always(outcome: Any) -> bool:
    return True


def kept_as(name: str, whole: Callable[[Any], bool] = _always) -> Callable[[C], C]:
    """Register a dataclass whose values are kept under that name, where `whole` says they are.

    What is not whole, since something could not be read, is measured again by another run.
    """

    def register(made: C) -> C:
        _RECORDS[name] = _Record(made, whole)
        return made

    return register


kept_as("moments")(Moments)
kept_as("grid")(Grid)


def text(outcome: Any) -> str:
    """Return an outcome as text.

    Raises
    ------
    Unkept
        It is not whole, or not of a class that is kept.
    """
    return json.dumps(_encoded(outcome), separators=(",", ":"))


def outcome(text: str) -> Any:
    """Return what `text` was made of.

    Raises
    ------
    ValueError, LookupError, TypeError
        It is no such text.
    """
    return _decoded(json.loads(text))


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_encoded(one) for one in value]}
    if isinstance(value, Mapping):
        return {"mapping": [[_encoded(key), _encoded(one)] for key, one in value.items()]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        held = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        scalar = isinstance(value, np.generic)
        return {"array": [value.dtype.str, None if scalar else list(value.shape), held]}
    name = _NAMES.get(type(value)) or _named(type(value))
    if not _RECORDS[name].whole(value):
        raise Unkept(name)
    return {name: [_encoded(getattr(value, one.name)) for one in fields(value)]}


_NAMES: dict[type, str] = {}


def _named(kind: type) -> str:
    for name, record in _RECORDS.items():
        if record.made is kind and is_dataclass(kind):
            _NAMES[kind] = name
            return name
    raise Unkept(kind.__qualname__)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tuple":
        return tuple(map(_decoded, held))
    if kind == "mapping":
        return {_decoded(key): _decoded(one) for key, one in held}
    if kind == "array":
        dtype, shape, coded = held
        array = np.frombuffer(base64.b64decode(coded), np.dtype(dtype)).copy()
        return array[0] if shape is None else array.reshape(shape)
    return _RECORDS[kind].made(*map(_decoded, held))
