"""torch's distributed checkpoints: `.metadata` says which file holds which block of each tensor.

FSDP, torchtitan and accelerate write them. The metadata is a pickle of a few plain records, read
by the interpreter of `pickles`; every block is a small archive of `torch.save` inside a .distcp
file, so that its bytes have a place in it.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ftdiff.errors import BadFile
from ftdiff.formats import pickles
from ftdiff.formats.checkpoint import Checkpoint, read_config
from ftdiff.formats.container import Format, Header
from ftdiff.formats.pickles import Constant, Function, Globals, Kind, Record, Refused
from ftdiff.formats.place import Place
from ftdiff.formats.torch_zip import archive, records, state, views
from ftdiff.tensors import LazyTensor, Piece, Pieces, Source

METADATA = ".metadata"
_HERE = "torch.distributed.checkpoint"
_KNOWN: Globals = {
    **{
        (f"{_HERE}.metadata", name): Kind(name)
        for name in (
            *("Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata"),
            *("BytesStorageMetadata", "MetadataIndex", "StorageMeta"),
        )
    },
    (f"{_HERE}.filesystem", "_StorageInfo"): Kind("_StorageInfo"),
    (f"{_HERE}.metadata", "_MEM_FORMAT_ENCODING"): Function(lambda *_: None),
    ("torch.serialization", "_get_layout"): Function(lambda *_: None),
    ("torch", "Size"): Function(records.size),
    **{
        (module, name): Function(lambda *parts: "/".join(parts))
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "Path")
    },
    ("collections", "OrderedDict"): Function(records.container),
    **{("torch", name): Constant(code) for name, code in records.DTYPES.items()},
    **{("torch", name): Constant(name) for name in ("complex64", "complex128")},
}

#: Where a block begins in its tensor, and its shape.
_Place: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
#: Blocks of a tensor that are held against all others at a time.
_AT_ONCE = 256
#: Bytes at both ends of a block's archive that what is read of it lies in, as torch lays it out.
_ENDS = 4 << 10
#: Archives of remote files that are read at a time.
_AT_A_TIME = 16


@dataclass(frozen=True)
class _Format(Format):
    """A format of folders, whose files are nothing without the folder's metadata."""

    def stem(self, path: Place) -> str | None:
        """None: no file of it holds whole tensors."""
        return None

    def files(self, folder: Place) -> list[Place]:
        """Return none, for the same reason."""
        return []

    def recognises(self, path: Place) -> bool:
        """Say whether a folder has the metadata and files of blocks."""
        folder = path.home
        named = path.is_dir() or path.name == METADATA or path.name.endswith(self.suffix)
        return named and (folder / METADATA).is_file() and bool(folder.files(self.suffix))

    def open_(self, path: Place) -> Checkpoint:
        """Open the folder; no tensor is read.

        Raises
        ------
        BadFile
            The metadata is damaged, or a file of blocks is missing or another than it says.
        """
        return _open(path.home)


def _open(folder: Place) -> Checkpoint:
    file = folder / METADATA
    raw = file.read(pickles.LARGEST)
    try:
        held = pickles.read(raw, _KNOWN)
    except Refused as reason:
        raise BadFile(f"{file}: not read, since {reason}") from reason
    if not isinstance(held, Record) or held.kind != "Metadata":
        raise BadFile(f"{file}: not the metadata of a distributed checkpoint")
    sets, others = _sets(file, held)
    chosen, notes = state.choose(sets, str(folder), others)
    reader = _Blocks(folder, _places(file, held))
    reader.read_ahead({fqn for fqn, _ in sets[chosen].values()})
    tensors = {name: reader.tensor(fqn, record) for name, (fqn, record) in sets[chosen].items()}
    digest = hashlib.sha256(raw).hexdigest()
    files = [{"name": METADATA, "bytes": len(raw), "header_sha256": digest}]
    files += [{"name": name, "bytes": source.size} for name, source in reader.sources.items()]
    config = read_config(folder) or read_config(folder.parent)
    return Checkpoint(tensors, str(folder), "dcp", config, tuple(files), {}, notes)


def _sets(
    file: Place, held: Record
) -> tuple[dict[str, dict[str, tuple[str, Record]]], tuple[str, ...]]:
    """Return the tensors by the dict that they were in, and its parts that are no model's."""
    found: dict[str, dict[str, tuple[str, Record]]] = defaultdict(dict)
    others: set[str] = set()
    entries, paths = held.get("state_dict_metadata"), held.get("planner_data")
    if not isinstance(entries, dict):
        raise BadFile(f"{file}: it names no tensors")
    for fqn, record in entries.items():
        if not isinstance(fqn, str) or not isinstance(record, Record):
            raise BadFile(f"{file}: a tensor without a name")
        path = paths.get(fqn) if isinstance(paths, dict) else None
        path = path if isinstance(path, tuple) and path else (fqn,)
        if not all(isinstance(word, str) or records.sizes((word,)) for word in path):
            raise BadFile(f"{file}: {fqn}: a path that is none")
        words = [str(word) for word in path]
        if words[0].startswith(("optim", "opt_")):
            others.add(words[0])
        elif record.kind == "TensorStorageMetadata":
            found[".".join(words[:-1])][words[-1]] = fqn, record
    return found, tuple(sorted(others))


def _places(file: Place, held: Record) -> dict[tuple[str, tuple[int, ...]], tuple[str, int, int]]:
    """Return file, first byte and bytes of every block, by its tensor and offsets."""
    found = {}
    told = held.get("storage_data")
    for index, place in told.items() if isinstance(told, dict) else ():
        if not isinstance(index, Record) or not isinstance(place, Record):
            raise BadFile(f"{file}: a block without a place")
        name, begin, size = (place.get(key) for key in ("relative_path", "offset", "length"))
        offset, fqn = index.get("offset"), index.get("fqn")
        placed = isinstance(name, str) and type(begin) is int and type(size) is int
        if not placed or not isinstance(fqn, str) or not (offset is None or records.sizes(offset)):
            raise BadFile(f"{file}: a block without a place")
        if place.get("transform_descriptors"):
            raise BadFile(f"{file}: {fqn}: its blocks are compressed; save it without extensions")
        if "/" in name or "\\" in name or "\0" in name or name in ("", ".", ".."):
            raise BadFile(f"{file}: {name!r} is not the name of a file beside it")
        found[fqn, offset or ()] = name, begin, size
    return found


class _Blocks:
    """Blocks by their places; each file is opened once."""

    def __init__(
        self, folder: Place, places: Mapping[tuple[str, tuple[int, ...]], tuple[str, int, int]]
    ) -> None:
        self._folder, self._places = folder, places
        self._archives: dict[tuple[str, int, int], archive.Archive] = {}
        self.sources: dict[str, Source] = {}

    def read_ahead(self, names: Collection[str]) -> None:
        """Read the archives of some tensors in remote files together: neighbours in one request."""
        if self._folder.folder.is_local:
            return
        spans: dict[Source, list[tuple[int, int]]] = defaultdict(list)
        wanted = []
        for place in sorted({place for (fqn, _), place in self._places.items() if fqn in names}):
            source, begin, end = self._source(place[0]), place[1], place[1] + place[2]
            if 0 <= begin <= end <= source.size:
                wanted.append(place)
                spans[source] += [(begin, min(begin + _ENDS, end)), (max(begin, end - _ENDS), end)]
        try:
            for source, ends in spans.items():
                source.expect(ends)
            with ThreadPoolExecutor(_AT_A_TIME) as threads:
                self._archives.update(zip(wanted, threads.map(self._read, wanted), strict=True))
        finally:
            for source in spans:
                source.expect(())

    def _read(self, place: tuple[str, int, int]) -> archive.Archive:
        name, begin, size = place
        source = self._source(name)
        if source.is_local:
            return archive.read(source, begin, begin + size)
        return archive.read(source, begin, begin + size, _ENDS // 4)

    def tensor(self, fqn: str, record: Record) -> LazyTensor:
        """Return a tensor that was saved in one block or in several."""
        shape, chunks = record.get("size"), record.get("chunks")
        properties = record.get("properties")
        told = properties.state if isinstance(properties, Record) else None
        dtype = told[0] if isinstance(told, tuple) and told else None
        if not (isinstance(dtype, Constant) and isinstance(chunks, list) and records.sizes(shape)):
            raise BadFile(f"{self._folder}: {fqn}: no shape, dtype or blocks in the metadata")
        places = [*self._chunks(fqn, chunks, len(shape))]
        _covers(f"{self._folder}: {fqn}", shape, places)
        pieces = tuple(self._piece(fqn, *place) for place in sorted(places))
        if len(pieces) == 1:
            return pieces[0].tensor
        return Pieces(shape, str(dtype.value), pieces)

    def _chunks(self, fqn: str, chunks: list[Any], rank: int) -> Iterator[_Place]:
        """Yield where every block begins in its tensor, and its shape."""
        for chunk in chunks:
            offsets = chunk.get("offsets") if isinstance(chunk, Record) else None
            shape = chunk.get("sizes") if isinstance(chunk, Record) else None
            if not (records.sizes(offsets) and records.sizes(shape)):
                raise BadFile(f"{self._folder}: {fqn}: a block without a place in its tensor")
            if not len(offsets) == len(shape) == rank:
                raise BadFile(f"{self._folder}: {fqn}: a block of other sides than its tensor")
            if 0 not in shape:  # a machine may have had nothing of it
                yield offsets, shape

    def _piece(self, fqn: str, offsets: tuple[int, ...], shape: tuple[int, ...]) -> Piece:
        tensor = self._block(fqn, offsets)
        if tensor.shape != shape:
            raise BadFile(f"{self._folder}: {fqn}: a block of {tensor.shape}, not {shape}")
        return Piece(tensor, offsets)

    def _block(self, fqn: str, offsets: tuple[int, ...]) -> LazyTensor:
        place = self._places.get((fqn, offsets), self._places.get((fqn, ())))
        if place is None:
            raise BadFile(f"{self._folder}: {fqn}: the metadata has no place for one of its blocks")
        name, begin, size = place
        source = self._source(name)
        if begin < 0 or size < 0 or begin + size > source.size:
            raise BadFile(f"{source.name}: truncated: {fqn} ends after the file does")
        opened = self._archives.get(place) or self._read(place)
        try:
            record = records.read(opened.pickle)
        except Refused as reason:
            raise BadFile(f"{source.name}: {fqn}: not read, since {reason}") from reason
        if not isinstance(record, records.TensorRecord):
            raise BadFile(f"{source.name}: {fqn}: not a tensor")
        return views.tensor(source, opened, fqn, record)

    def _source(self, name: str) -> Source:
        if name not in self.sources:
            try:
                self.sources[name] = (self._folder / name).source()
            except BadFile as error:
                raise BadFile(f"{error}: a machine's part") from error
        return self.sources[name]


def _covers(name: str, shape: tuple[int, ...], places: Sequence[_Place]) -> None:
    """Raise where blocks leave something out, overlap, or reach beyond the tensor."""
    entries = math.prod(shape)
    if entries >= 1 << 62 or sum(math.prod(sides) for _, sides in places) != entries:
        raise BadFile(f"{name}: its blocks do not make up its {entries:,} entries")
    for offsets, sides in places:
        if any(at + side > whole for at, side, whole in zip(offsets, sides, shape, strict=True)):
            raise BadFile(f"{name}: a block reaches beyond it")
    begin = np.array([offsets for offsets, _ in places], np.int64).reshape(len(places), -1)
    end = begin + np.array([sides for _, sides in places], np.int64).reshape(begin.shape)
    for at in range(0, len(places), _AT_ONCE):
        first, last = begin[at : at + _AT_ONCE, None], end[at : at + _AT_ONCE, None]
        meet = (first < end[None]) & (begin[None] < last)
        if meet.all(axis=-1).sum() > len(first):
            raise BadFile(f"{name}: two of its blocks overlap")


def _no_header(path: Place) -> Header:
    raise BadFile(f"{path}: a part of a distributed checkpoint; name its folder")


FORMAT = _Format("dcp", ".distcp", _no_header, models=())
