"""Tensors that llama.cpp stores in blocks of few bits, dequantised by the `gguf` package."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ftdiff.errors import BadFile, require
from ftdiff.tensors import Array, Source, numel

#: Entries that are dequantised at a time.
_PIECE = 1 << 17


@dataclass(frozen=True)
class Blocks:
    """A tensor in blocks; only those that a read touches are dequantised, to float32.

    Attributes
    ----------
    source, offset
        Where the blocks begin.
    shape
        The tensor's, in entries.
    kind
        ggml's number of the type.
    scheme
        What the type is called: Q4_K, ….
    entries, bytes
        Of one block.
    """

    source: Source
    offset: int
    shape: tuple[int, ...]
    kind: int
    scheme: str
    entries: int
    bytes: int
    dtype: str = "F32"

    @property
    def storage(self) -> Hashable:
        """The source's bytes, the offset in them, and how they are read."""
        return self.source.identity, self.offset, self.kind

    @property
    def size(self) -> int:
        """The bytes of all blocks."""
        return numel(self.shape) // self.entries * self.bytes

    def read(self, rows: slice = slice(None)) -> Array:
        """Return these rows, dequantised."""
        if not self.shape:
            with self.window(0, 1) as flat:
                return flat.reshape(())
        start, stop, step = rows.indices(self.shape[0])
        width = numel(self.shape[1:])
        with self.window(start * width, max(start, stop) * width) as flat:
            return flat.reshape(max(stop - start, 0), *self.shape[1:])[::step]

    @contextmanager
    def window(self, start: int, stop: int) -> Iterator[Array]:
        """Lend these entries, dequantised."""
        if stop <= start:
            yield np.empty(0, np.float32)
            return
        first, last = start // self.entries, -(-stop // self.entries)
        begin, end = (self.offset + block * self.bytes for block in (first, last))
        library = require("gguf", "gguf", self.source.name)
        values = np.empty((last - first, self.entries), np.float32)
        each = max(1, _PIECE // self.entries)
        with self.source.lend(begin, end) as lent:
            raw = np.frombuffer(lent, np.uint8).reshape(last - first, self.bytes)
            kind = library.GGMLQuantizationType(self.kind)
            for at in range(0, last - first, each):  # the package copies what it is given
                values[at : at + each] = library.quants.dequantize(raw[at : at + each], kind)
        skipped = first * self.entries
        yield values.reshape(-1)[start - skipped : stop - skipped]


@lru_cache(maxsize=1)
def sizes() -> dict[int, tuple[str, int, int]]:
    """Return name, entries and bytes of a block of every type that can be dequantised.

    Raises
    ------
    MissingExtra
        The `gguf` package is not installed.
    """
    library: Any = require("gguf", "gguf", "reading llama.cpp's blocks of few bits")
    found = {}
    for kind, (entries, size) in library.GGML_QUANT_SIZES.items():
        try:
            library.quants.dequantize(np.zeros((1, size), np.uint8), kind)
        except NotImplementedError:
            continue
        found[int(kind)] = str(kind.name), int(entries), int(size)
    return found


def tensor(source: Source, offset: int, shape: tuple[int, ...], kind: int, name: str) -> Blocks:
    """Return a tensor of a type that is stored in blocks.

    Raises
    ------
    BadFile
        The installed `gguf` cannot dequantise the type, or a row is no whole number of blocks.
    """
    found = sizes().get(kind)
    if found is None:
        raise BadFile(f"{source.name}: {name}: ggml type {kind} cannot be dequantised")
    scheme, entries, size = found
    if not shape or shape[-1] % entries:
        raise BadFile(f"{source.name}: {name}: rows of {shape} are not whole blocks of {entries}")
    return Blocks(source, offset, shape, kind, scheme, entries, size)
