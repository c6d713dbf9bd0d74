"""GGUF headers: metadata and tensors, held against the file's size before anything is mapped.

The format is a magic word, a version, two counts, typed key-value pairs, tensor records, and the
data, aligned (ggml's `docs/gguf.md`). Lengths are little-endian 64-bit numbers.

What a model's tensors are is said by `gguf_model`; what an adapter's are, by `adapters/llama_cpp`.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats import source_file
from ftdiff.formats.place import Place
from ftdiff.formats.pointers import refuse_pointer
from ftdiff.tensors import FileTensor, Source, numel

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
#: Values of a list, at most: no vocabulary has as many.
_LONGEST = 1 << 22
#: What the dtype of a type that is stored in blocks begins with; its number follows.
TYPE = "ggml type "
#: ggml's numbers of the types that are stored entry by entry, as safetensors names them.
_DTYPES = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_SIZES = {"F32": 4, "F16": 2, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "F64": 8, "BF16": 2}


@dataclass(frozen=True)
class Header:
    """What a GGUF file says before its data.

    Attributes
    ----------
    fields
        The metadata by key: numbers, strings, and lists of them.
    tensors
        Lazy tensors by name, shapes in row-major order; the type's number is in the dtype where
        the values are packed in blocks ("ggml type 8"), which cannot be read.
    record
        Name, size and header digest, for provenance.
    """

    fields: Mapping[str, Any]
    tensors: Mapping[str, FileTensor]
    record: Mapping[str, Any]


def read_header(path: Place) -> Header:
    """Read and check one file's header.

    Raises
    ------
    BadFile
        The file is truncated, of another version or byte order, or its header lies.
    """
    source = path.source()
    with source.lend(0, min(4, source.size)) as lent:
        begins = bytes(lent)
    if source.size < 24 or begins != MAGIC:
        refuse_pointer(path)
        raise BadFile(f"{path}: not a GGUF file")
    return _Reader(path, source).header()


class _Reader:
    """A position in the file; every step is held against its end."""

    def __init__(self, path: Place, source: Source) -> None:
        self.path, self.source, self.at = path, source, 0
        self._file: io.BufferedReader = source_file.opened(source)
        self._digest = hashlib.sha256()
        self.take(len(MAGIC))

    def header(self) -> Header:
        """Read everything up to the data."""
        version = self.number("I")
        if version not in _VERSIONS:
            raise BadFile(f"{self.path}: GGUF version {version}; 2 and 3 are read, little-endian")
        count, pairs = self.number("Q"), self.number("Q")
        self.room_for(count, 24)
        self.room_for(pairs, 12)
        fields: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.string()
            if key in fields:
                raise BadFile(f"{self.path}: the key {key!r} occurs twice")
            fields[key] = self.value(self.number("I"))
        records: dict[str, tuple[tuple[int, ...], str, int]] = {}
        for _ in range(count):
            name, shape, dtype, offset = self.record()
            if name in records:
                raise BadFile(f"{self.path}: the tensor {name!r} occurs twice")
            records[name] = shape, dtype, offset
        digest = self._digest.hexdigest()
        alignment = fields.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise BadFile(f"{self.path}: general.alignment is {alignment}, not a power of two")
        begin = -(-self.at // alignment) * alignment
        tensors: dict[str, FileTensor] = {}
        for name, (shape, dtype, offset) in records.items():
            size = numel(shape) * _SIZES.get(dtype, 0)
            if begin + offset + size > self.source.size:
                raise BadFile(f"{self.path}: truncated: {name!r} ends after the file does")
            tensors[name] = FileTensor(self.source, begin + offset, shape, dtype)
        record = {"name": self.path.name, "bytes": self.source.size, "header_sha256": digest}
        return Header(fields, tensors, record)

    def record(self) -> tuple[str, tuple[int, ...], str, int]:
        """Read a tensor's name, shape, dtype and offset."""
        name, sides = self.string(), self.number("I")
        self.room_for(sides, 8)
        if sides > 8:
            raise BadFile(f"{self.path}: {name!r} has {sides} dimensions")
        shape = tuple(self.number("Q") for _ in range(sides))[::-1]  # the fastest comes first
        kind, offset = self.number("I"), self.number("Q")
        return name, shape, _DTYPES.get(kind, f"{TYPE}{kind}"), offset

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        raw = self._file.read(size)
        if len(raw) < size:
            raise BadFile(f"{self.path}: truncated inside its header")
        self.at += size
        self._digest.update(raw)
        return raw

    def number(self, code: str) -> Any:
        """Read one number of a `struct` code."""
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]

    def string(self) -> str:
        """Read a length and as many bytes of UTF-8."""
        length = self.number("Q")
        self.room_for(length, 1)
        raw = self.take(length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadFile(f"{self.path}: a name that is not UTF-8") from error

    def value(self, kind: int, deep: bool = False) -> Any:
        """Read a value: a number, a string, or a list of them."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or deep:
            raise BadFile(f"{self.path}: a value of the unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        self.room_for(count, 1)
        if count > _LONGEST:
            raise BadFile(f"{self.path}: a list of {count:,} values in its header")
        return [self.value(inner, deep=True) for _ in range(count)]

    def room_for(self, count: int, size: int) -> None:
        """Raise where that many things cannot be in what is left of the file."""
        if count * size > self.source.size - self.at:
            raise BadFile(f"{self.path}: truncated, or its header counts more than it holds")
