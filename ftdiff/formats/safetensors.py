"""Safetensors: the header of a file is checked, not trusted.

The format is eight bytes of length, a JSON header of names, dtypes, shapes and byte ranges, and the
bytes. Everything in the header is held against the size of the file before anything is mapped.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeGuard

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.container import Format, Header
from ftdiff.formats.place import Place
from ftdiff.formats.pointers import refuse_pointer
from ftdiff.tensors import DTYPES, FileTensor, numel

_LARGEST_HEADER = 100_000_000  # the limit of the reference reader


def read_header(path: Place) -> Header:
    """Read and check one file's header; `__metadata__` is the file's own.

    Raises
    ------
    BadFile
        The file is truncated, or its header is not what the format allows.
    """
    source = path.source()
    room = source.size - 8
    if room < 2:
        raise BadFile(f"{path}: {source.size} bytes are too few for a safetensors file")
    with source.lend(0, 8) as lent:
        length = int.from_bytes(lent, "little")
    if length > min(_LARGEST_HEADER, room):
        refuse_pointer(path)
        raise BadFile(
            f"{path}: the header says it is {length} bytes long, and the file has {room}: "
            "truncated, or not safetensors"
        )
    with source.lend(8, 8 + length) as lent:
        raw = bytes(lent)
    header = _parse(path, raw)
    metadata = _metadata(path, header.pop("__metadata__", {}))
    begin = 8 + length
    spans: list[tuple[int, int, str]] = []
    tensors = {}
    for name, entry in header.items():
        shape, dtype, start, stop = _entry(path, name, entry)
        spans.append((start, stop, name))
        tensors[name] = FileTensor(source, begin + start, shape, dtype)
    _check_spans(path, spans, source.size - begin)
    digest = hashlib.sha256(raw).hexdigest()
    record = {"name": path.name, "bytes": source.size, "header_sha256": digest}
    return Header(tensors, record, metadata)


def _parse(path: Place, raw: bytes) -> dict[str, Any]:
    try:
        header = parse_json(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: the header is not valid JSON ({error})") from error
    if not isinstance(header, dict):
        raise BadFile(f"{path}: the header is not a JSON object")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _metadata(path: Place, found: Any) -> dict[str, str]:
    if found is None:  # MLX writes null where there is none
        return {}
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise BadFile(f"{path}: __metadata__ must map strings to strings")
    return found


def _entry(path: Place, name: str, entry: Any) -> tuple[tuple[int, ...], str, int, int]:
    def whole(values: Any) -> TypeGuard[list[int]]:
        return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values)

    if not isinstance(entry, dict):
        raise BadFile(f"{path}: {name}: the header entry is not an object")
    shape, dtype, offsets = entry.get("shape"), entry.get("dtype"), entry.get("data_offsets")
    if not whole(shape) or not whole(offsets) or len(offsets) != 2 or not isinstance(dtype, str):
        raise BadFile(
            f"{path}: {name}: its header entry lacks a valid shape, dtype or data_offsets"
        )
    start, stop = offsets
    held = DTYPES.get(dtype)
    size = numel(tuple(shape)) * held.itemsize if held is not None else stop - start
    if stop - start != size:
        raise BadFile(
            f"{path}: {name}: {dtype} {shape} takes {size} bytes, the header gives {stop - start}"
        )
    return tuple(shape), dtype, start, stop


def _check_spans(path: Place, spans: list[tuple[int, int, str]], room: int) -> None:
    end = 0
    for start, stop, name in sorted(spans):
        if stop < start or start != end:
            raise BadFile(f"{path}: {name}: its bytes overlap another tensor's, or leave a gap")
        end = stop
    if end > room:
        raise BadFile(f"{path}: truncated: tensors end at byte {end}, and the file has {room}")
    if end < room:
        raise BadFile(f"{path}: {room - end} bytes after the last tensor belong to none")


FORMAT = Format("safetensors", ".safetensors", read_header)
