"""What torch's pickles say of tensors: each is a view of a storage, which is a member elsewhere."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeGuard

from ftdiff.formats import pickles
from ftdiff.formats.pickles import Constant, Function, Globals, Refused

#: torch's classes of storages, and the safetensors codes of what they hold.
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
#: torch's dtypes, and their safetensors codes.
DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}

#: Sides of a tensor, at most, and entries: what torch itself can have.
_MOST_SIDES, _MOST_ENTRIES = 64, 1 << 62


@dataclass(frozen=True, slots=True)
class Storage:
    """A member of the archive: its name below `data/`, and the dtype of its entries, if typed."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A view of a storage, in entries."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(raw: bytes) -> Any:
    """Interpret a pickle of `torch.save`: containers, plain values and `TensorRecord`.

    Raises
    ------
    Refused
        It names anything but parts of tensors, or is no pickle.
    """
    return pickles.read(raw, _KNOWN, _storage)


def size(*arguments: Any) -> tuple[int, ...]:
    """Stand for torch.Size."""
    sides = tuple(*arguments[:1])
    if not sizes(sides):
        raise Refused("a shape that is none")
    return sides


def sizes(values: Any) -> TypeGuard[tuple[int, ...]]:
    """Say whether a value is a shape, an offset or strides: of as many sides as torch allows."""
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_SIDES
        and all(type(v) is int and 0 <= v < _MOST_ENTRIES for v in values)
    )


def _storage(pid: Any) -> Storage:
    if isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage":
        kind, key, count = pid[1], pid[2], pid[4]
        if isinstance(kind, Constant) and isinstance(key, str) and type(count) is int:
            return Storage(key, str(kind.value), count)
    raise Refused("a storage that is named in no known way")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorRecord:
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    if len(rest) > 2 and rest[2]:
        raise Refused("a tensor that is conjugated or negated when it is read")
    return _record(storage, storage.dtype, offset, shape, strides)


def _tensor_of_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> TensorRecord:
    if not isinstance(storage, Storage) or not isinstance(dtype, Constant):
        raise Refused("a tensor without a storage or a dtype")
    return _record(storage, str(dtype.value), offset, shape, strides)


def _record(storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    if not sizes((offset,)) or not sizes(shape) or not sizes(strides) or len(shape) != len(strides):
        raise Refused("a tensor whose offset, shape or strides are no sizes")
    if math.prod(shape) >= _MOST_ENTRIES:
        raise Refused("a tensor of more entries than there are addresses")
    return TensorRecord(storage, dtype, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _subclass(rebuild: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """Rebuild torch's own tensors with attributes (a Buffer): `kind` is torch.Tensor."""
    if not isinstance(rebuild, Function) or not isinstance(arguments, tuple):
        raise Refused("a tensor of another class than torch's")
    return rebuild(*arguments)


def container(*arguments: Any) -> OrderedDict[Any, Any]:
    """Make an OrderedDict, which older pickles fill from a list of pairs."""
    held = arguments[0] if arguments else {}
    pairs = held.items() if isinstance(held, dict) else held
    return OrderedDict((pickles.key(key), value) for key, value in pairs)


def _device(*arguments: Any) -> None:
    return None


_KNOWN: Globals = {
    ("collections", "OrderedDict"): Function(container),
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Function(_tensor_of_dtype),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): Function(_subclass),
    ("torch", "Size"): Function(size),
    ("torch", "device"): Function(_device),
    ("torch", "Tensor"): Constant(""),
    ("torch.nn.parameter", "Parameter"): Constant(""),
    ("torch.storage", "UntypedStorage"): Constant(""),
    ("torch", "UntypedStorage"): Constant(""),
    **{("torch", name): Constant(code) for name, code in (_STORAGES | DTYPES).items()},
}
