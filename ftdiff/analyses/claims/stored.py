"""The tensors of a model or an adapter as its files store them, whatever the files are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import numpy as np

from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadCall, BadFile
from ftdiff.formats import Checkpoint, format_of, open_stored, pipelines
from ftdiff.formats.gguf_blocks import Blocks
from ftdiff.formats.place import Place, again, is_repository
from ftdiff.tensors import DTYPES, FileTensor, LazyTensor, numel, stored_as

#: Bits of an entry, of safetensors' dtypes that NumPy has no counterpart of.
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "C64": 64}
#: Entries, or bytes, that are read at a time.
_RUN = 4 << 20


def local(source: Any) -> str:
    """Return the path of a side, which has to be of this machine.

    Raises
    ------
    BadCall
        It is in memory, or on another machine.
    """
    if not isinstance(source, str | os.PathLike):
        what = type(source).__name__
        raise BadCall(f"a claim is about files: a path is needed for each side, this is a {what}")
    text = os.fspath(source)
    if ("://" in text and not text.startswith("file://")) or is_repository(text):
        raise BadCall(f"{text}: a claim is made and checked of files of this machine: download it")
    return text


def named(source: str) -> str:
    """Name a side for the public: of a path, the last part only.

    >>> named("/home/me/secret/my-lora/")
    'my-lora'
    """
    return PurePath(source).name or source


def place_of(opened: Checkpoint | Tuned) -> Place:
    """Return where an opened side lies.

    Raises
    ------
    BadFile
        Nothing is there any more.
    """
    found = again(local(opened.source))
    if found is None or not opened.files:
        raise BadFile(f"{opened.source}: no files of it are here")
    return found


def tensors_of(opened: Checkpoint | Tuned) -> dict[str, LazyTensor]:
    """Return every tensor of the files that were opened, by its name in them.

    Of a pipeline of several components, the component's name comes before. Nothing is read.

    Raises
    ------
    BadFile
        A file has gone, or its header lies.
    """
    place = place_of(opened)
    whole = isinstance(opened, Checkpoint) or opened.kind == "full"
    if whole and not pipelines.recognises(place):
        return {name: _behind(one) for name, one in open_stored(place).tensors.items()}
    found: dict[str, LazyTensor] = {}
    for record in opened.files:
        name = str(record["name"])
        path, known = place.home / name, format_of(place.home / name)
        if known is None:
            raise BadFile(f"{path}: of no known format")
        part = "".join(f"{word}." for word in name.split("/")[:-1])
        held = known.read_header(path).tensors
        found |= {f"{part}{key}": _behind(tensor) for key, tensor in held.items()}
    return found


def facts(name: str, tensor: LazyTensor) -> list[Any]:
    """Return name, dtype and shape as a claim lists them."""
    return [name, stored_as(tensor), list(tensor.shape)]


def size_of(tensor: LazyTensor) -> int:
    """Return how many bytes of the file hold a tensor.

    Raises
    ------
    BadFile
        Its dtype is not known.
    """
    if isinstance(tensor, Blocks):
        return tensor.size
    dtype = DTYPES.get(tensor.dtype)
    bits = _BITS.get(tensor.dtype) if dtype is None else 8 * dtype.itemsize
    if bits is None:
        where = getattr(tensor, "path", "a file")
        raise BadFile(f"{where}: dtype {tensor.dtype}: its bytes cannot be told")
    return -(-numel(tensor.shape) * bits // 8)


def digest(tensor: LazyTensor) -> bytes:
    """Return SHA-256 of a tensor's bytes: row-major and little-endian, as safetensors stores them.

    Of a tensor in blocks, as llama.cpp stores them, of the blocks.

    Raises
    ------
    BadFile
        The file has changed since it was opened.
    """
    found = hashlib.sha256()
    for at in range(0, _length(tensor), _RUN):
        with _lent(tensor, at, min(at + _RUN, _length(tensor))) as held:
            found.update(held)
    return found.digest()


def _length(tensor: LazyTensor) -> int:
    raw = isinstance(tensor, FileTensor | Blocks)
    return size_of(tensor) if raw else numel(tensor.shape)


@contextmanager
def _lent(tensor: LazyTensor, start: int, stop: int) -> Iterator[Any]:
    if isinstance(tensor, FileTensor | Blocks):
        with tensor.source.lend(tensor.offset + start, tensor.offset + stop) as lent:
            yield lent
    else:
        with tensor.window(start, stop) as values:
            yield np.ascontiguousarray(values).view(np.uint8)


def _behind(tensor: LazyTensor) -> LazyTensor:
    """Return the blocks behind a view of them: such a view has no bytes of its own."""
    inner = tensor
    while (held := getattr(inner, "behind", None)) is not None:
        inner = held
    return inner if isinstance(inner, Blocks) else tensor
