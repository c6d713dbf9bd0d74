"""A pickled state dict is read as records of tensors; nothing in the file is ever called.

Of the pickle's globals only tensors' rebuilders, storages, dtypes and plain containers have a
meaning here, and each of them is ours: any other name is refused before anything is done with it.
The interpreter is the standard library's in Python, whose memo is a dict: the one in C allocates
what an index in the file asks for.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

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
_DTYPES = {
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
#: Bytes of pickle that are interpreted: a model of 100,000 tensors has 20 MB.
LARGEST = 256 << 20


class Refused(Exception):
    """The pickle names something that is no part of a state dict, or contradicts itself."""


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


@dataclass(frozen=True, slots=True)
class _Named:
    """A dtype or a storage class that the pickle names."""

    dtype: str


class _Called:
    """A function of ours under the name of one of torch's."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorRecord:
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    if len(rest) > 2 and rest[2]:
        raise Refused("a tensor that is conjugated or negated when it is read")
    return _record(storage, storage.dtype, offset, shape, strides)


def _tensor_of_dtype(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> TensorRecord:
    if not isinstance(storage, Storage) or not isinstance(dtype, _Named):
        raise Refused("a tensor without a storage or a dtype")
    return _record(storage, dtype.dtype, offset, shape, strides)


def _record(storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> TensorRecord:
    def whole(values: Any) -> bool:
        return isinstance(values, tuple) and all(
            type(v) is int and 0 <= v < 1 << 62 for v in values
        )

    if not whole((offset,)) or not whole(shape) or not whole(strides) or len(shape) != len(strides):
        raise Refused("a tensor whose offset, shape or strides are no sizes")
    return TensorRecord(storage, dtype, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _subclass(rebuild: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """Rebuild torch's own tensors with attributes (a Buffer): `kind` is torch.Tensor."""
    if not isinstance(rebuild, _Called) or not isinstance(arguments, tuple):
        raise Refused("a tensor of another class than torch's")
    return rebuild(*arguments)


def _container(*arguments: Any) -> Any:
    """Make an OrderedDict, which older pickles fill from a list of pairs."""
    return OrderedDict(*arguments[:1])


def _size(*arguments: Any) -> tuple[Any, ...]:
    return tuple(*arguments[:1])


def _device(*arguments: Any) -> None:
    return None


_FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _container,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
}
_CLASSES = {("torch", "Tensor"), ("torch.nn.parameter", "Parameter")}


class _Interpreter(pickle._Unpickler):
    """The standard library's, without what a state dict has no use for."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name means here; refuse it where it means nothing."""
        if (module, name) in _FUNCTIONS:
            return _Called(_FUNCTIONS[module, name])
        if (module, name) in _CLASSES:
            return _Named("")
        if module == "torch" and name in _STORAGES:
            return _Named(_STORAGES[name])
        if module == "torch" and name in _DTYPES:
            return _Named(_DTYPES[name])
        if (module, name) in (("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage")):
            return _Named("")
        raise Refused(f"it names {module}.{name}, which is no part of a state dict")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a pickle names."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise Refused("a storage that is named in no known way")
        kind, key, count = pid[1], pid[2], pid[4]
        if not isinstance(kind, _Named) or not isinstance(key, str) or type(count) is not int:
            raise Refused("a storage that is named in no known way")
        return Storage(key, kind.dtype, count)

    def _drop_state(self) -> None:
        self.stack.pop()  # attributes of a container or a tensor: metadata and hooks

    def _refuse(self) -> NoReturn:
        raise Refused("it uses an instruction that no state dict needs")

    dispatch[pickle.BUILD[0]] = _drop_state
    for _opcode in (
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2),
        *(
            pickle.EXT4,
            pickle.BYTEARRAY8,
            pickle.NEXT_BUFFER,
            pickle.READONLY_BUFFER,
            pickle.PERSID,
        ),
    ):
        dispatch[_opcode[0]] = _refuse


def read(raw: bytes) -> Any:
    """Interpret a pickle: containers, plain values and `TensorRecord`.

    Raises
    ------
    Refused
        It names anything but parts of tensors, or is no pickle.
    """
    if len(raw) > LARGEST:
        raise Refused(f"{len(raw):,} bytes of pickle are too many")
    try:
        return _Interpreter(io.BytesIO(raw), encoding="utf-8").load()
    except (
        *(AttributeError, EOFError, IndexError, KeyError, MemoryError, OverflowError),
        *(pickle.UnpicklingError, RecursionError, TypeError, ValueError, struct.error),
    ) as error:  # whatever a damaged stream makes of the stack
        raise Refused(f"its pickle is damaged ({type(error).__name__}: {error})") from error
