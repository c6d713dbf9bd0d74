"""Safetensors: one file, shards with an index, or a model folder; headers are checked, not trusted.

The format is eight bytes of length, a JSON header of names, dtypes, shapes and byte ranges, and the
bytes. Everything in the header is held against the size of the file before anything is mapped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import Checkpoint, parse_json, read_config, read_json
from ftdiff.formats.note import Note
from ftdiff.tensors import DTYPES, FileTensor, numel, stamp

_LARGEST_HEADER = 100_000_000  # the limit of the reference reader
_WEIGHTS = ("model", "diffusion_pytorch_model", "adapter_model")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")


def recognises(path: Path) -> bool:
    """Say whether `path` is a safetensors file, an index of shards, or a folder with either."""
    if path.is_dir():
        return any(path.glob("*.safetensors")) or any(path.glob("*.safetensors.index.json"))
    return path.name.endswith((".safetensors", ".safetensors.index.json"))


def open_(path: Path) -> Checkpoint:
    """Open a file, an index or a folder (never its sub-folders); no tensor is read.

    Raises
    ------
    BadFile
        A header lies, a shard is missing or truncated, or the folder holds several models.
    """
    if path.is_dir():
        return _open_folder(path)
    config = read_config(path.parent)
    if path.name.endswith(".json"):
        return _open_index(path, str(path), config)
    return _open_files([path], str(path), config)


def _open_folder(folder: Path) -> Checkpoint:
    config = read_config(folder)
    for stem in _WEIGHTS:
        single = folder / f"{stem}.safetensors"
        index = folder / f"{stem}.safetensors.index.json"
        if single.is_file():
            text = f"{index.name} is ignored: {single.name} comes first"
            notes = (Note("index-ignored", text),) if index.is_file() else ()
            return _open_files([single], str(folder), config, notes)
        if index.is_file():
            return _open_index(index, str(folder), config)
    found = sorted(folder.glob("*.safetensors"))
    shards = [_SHARD.fullmatch(file.name) for file in found]
    if len(found) > 1 and not (all(shards) and len({m["stem"] for m in shards if m}) == 1):
        names = ", ".join(file.name for file in found[:5])
        raise BadFile(f"{folder}: {len(found)} safetensors files and no index ({names}); name one")
    missing = _missing_shards([m for m in shards if m])
    if missing:
        raise BadFile(f"{folder}: {missing[0]} is missing ({len(found)} shards are here)")
    return _open_files(found, str(folder), config)


def _missing_shards(shards: list[re.Match[str]]) -> list[str]:
    if not shards:
        return []
    stem, count = shards[0]["stem"], shards[0]["count"]
    here = {match["number"] for match in shards}
    wanted = (f"{i:05d}" for i in range(1, int(count) + 1))
    return [f"{stem}-{n}-of-{count}.safetensors" for n in wanted if n not in here]


def _open_index(index: Path, source: str, config: dict[str, Any]) -> Checkpoint:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadFile(f"{index}: no weight_map")
    for shard in weight_map.values():
        named = isinstance(shard, str) and shard == Path(shard).name and "\0" not in shard
        if not named or shard in ("", ".", ".."):
            raise BadFile(f"{index}: {shard!r} is not the name of a file beside it")
    files = [index.parent / shard for shard in sorted(set(weight_map.values()))]
    opened = _open_files(files, source, config, weight_map=weight_map)
    for name, shard in weight_map.items():
        if name not in opened.tensors:
            raise BadFile(f"{index}: {name} should be in {shard}, which does not hold it")
    return opened


def _open_files(
    files: Iterable[Path],
    source: str,
    config: dict[str, Any],
    notes: tuple[str, ...] = (),
    weight_map: dict[str, str] | None = None,
) -> Checkpoint:
    tensors: dict[str, FileTensor] = {}
    opened: list[dict[str, Any]] = []
    metadata: dict[str, str] = {}
    unindexed = 0
    for file in files:
        found, told, record = read_header(file)
        opened.append(record)
        metadata.update(told)
        for name, tensor in found.items():
            home = (weight_map or {}).get(name)
            if home not in (None, file.name):
                continue  # a stale copy: the index names another shard
            if name in tensors:
                raise BadFile(f"{file}: {name} is also in {Path(tensors[name].path).name}")
            unindexed += weight_map is not None and home is None
            tensors[name] = tensor
    if unindexed:
        text = f"{unindexed} tensors are in the shards but not in the index; kept"
        notes = (*notes, Note("unindexed", text, tensors=unindexed))
    return Checkpoint(tensors, source, "safetensors", config, tuple(opened), metadata, notes)


def read_header(path: Path) -> tuple[dict[str, FileTensor], dict[str, str], dict[str, Any]]:
    """Read and check one file's header.

    Returns
    -------
    tensors, metadata, record
        Lazy tensors by name; the file's `__metadata__`; its name, size and header digest.

    Raises
    ------
    BadFile
        The file is truncated, or its header is not what the format allows.
    """
    try:
        marks = stamp(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            room = marks[2] - 8
            if room < 2:
                raise BadFile(f"{path}: {marks[2]} bytes are too few for a safetensors file")
            if length > min(_LARGEST_HEADER, room):
                raise BadFile(
                    f"{path}: the header says it is {length} bytes long, and the file has {room}: "
                    "truncated, or not safetensors"
                )
            raw = file.read(length)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    header = _parse(path, raw)
    metadata = _metadata(path, header.pop("__metadata__", {}))
    begin = 8 + length
    spans: list[tuple[int, int, str]] = []
    tensors = {}
    for name, entry in header.items():
        shape, dtype, start, stop = _entry(path, name, entry)
        spans.append((start, stop, name))
        tensors[name] = FileTensor(str(path), begin + start, shape, dtype, marks)
    _check_spans(path, spans, marks[2] - begin)
    digest = hashlib.sha256(raw).hexdigest()
    return tensors, metadata, {"name": path.name, "bytes": marks[2], "header_sha256": digest}


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
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


def _metadata(path: Path, found: Any) -> dict[str, str]:
    if found is None:  # MLX writes null where there is none
        return {}
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise BadFile(f"{path}: __metadata__ must map strings to strings")
    return found


def _entry(path: Path, name: str, entry: Any) -> tuple[tuple[int, ...], str, int, int]:
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


def _check_spans(path: Path, spans: list[tuple[int, int, str]], room: int) -> None:
    end = 0
    for start, stop, name in sorted(spans):
        if stop < start or start != end:
            raise BadFile(f"{path}: {name}: its bytes overlap another tensor's, or leave a gap")
        end = stop
    if end > room:
        raise BadFile(f"{path}: truncated: tensors end at byte {end}, and the file has {room}")
    if end < room:
        raise BadFile(f"{path}: {room - end} bytes after the last tensor belong to none")
