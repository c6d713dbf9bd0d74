"""A format: how its files are called, and how the header of one is read; the rest is the same.

Files of every format lie in the same ways: one alone, shards with an index, or a folder of either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import Checkpoint, read_config, read_json
from ftdiff.formats.copies import averages
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.tensors import LazyTensor

#: How PEFT calls an adapter's weights, before the suffix.
ADAPTER = "adapter_model"
#: How PEFT and MLX-LM do.
ADAPTERS_ARE_CALLED = (ADAPTER, "adapters")
_INDEX = ".index.json"
#: What no name of a file has.
_SEPARATES = frozenset("/\\\0")
#: Headers of remote files that are asked for together.
_AT_A_TIME = 16
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")


@dataclass(frozen=True)
class Header:
    """What one file says before its data.

    Attributes
    ----------
    tensors
        Lazy tensors by name.
    metadata
        The file's own metadata, where the format has some.
    notes
        What is odd in the file but readable.
    config
        What it says of the model's configuration, as `config.json` would.
    record
        Its "name", "bytes" and "header_sha256", for provenance.
    """

    tensors: Mapping[str, LazyTensor]
    record: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A format whose every file holds whole tensors.

    Attributes
    ----------
    name
        As in `FORMATS`.
    suffix
        How its files' names end: ".safetensors".
    read_header
        Reads and checks one file's header; raises `BadFile` for one that lies.
    models
        How the weights of a whole model are called, before the suffix.
    others
        Other suffixes of the same format.
    weights
        Says of a file's name without suffix whether it may hold weights.
    """

    name: str
    suffix: str
    read_header: Callable[[Place], Header]
    models: tuple[str, ...] = ("model", "diffusion_pytorch_model", "consolidated")
    others: tuple[str, ...] = ()
    weights: Callable[[str], bool] = bool

    def stem(self, path: Place) -> str | None:
        """Return a file's name without the suffix; None for a file of another format."""
        name = path.name
        found = next((s for s in (*self.others, self.suffix) if name.endswith(s)), None)
        return None if found is None else name.removesuffix(found)

    def holds_model(self, path: Place) -> bool:
        """Say whether a file is called as the weights of a whole model are."""
        return self.stem(path) in self.models

    def model_in(self, folder: Place) -> Place | None:
        """Return the file, the index or the first shard of a whole model's weights in a folder."""
        for stem in self.models:
            for ending in (self.suffix, f"{self.suffix}{_INDEX}"):
                if (folder / f"{stem}{ending}").is_file():
                    return folder / f"{stem}{ending}"
        shards = ((_SHARD.fullmatch(self.stem(file) or ""), file) for file in self.files(folder))
        return next(
            (file for shard, file in shards if shard and shard["stem"] in self.models), None
        )

    def files(self, folder: Place) -> list[Place]:
        """Return the files of this format in a folder (never its sub-folders), sorted by name."""
        found = folder.files(self.suffix, *self.others)
        return [file for file in found if self.weights(self.stem(file) or "")]

    def recognises(self, path: Place) -> bool:
        """Say whether `path` is a file, an index of shards, or a folder with either."""
        if path.is_dir():
            return bool(self.files(path) or path.files(f"{self.suffix}{_INDEX}"))
        stem = self.stem(path)
        return path.name.endswith(f"{self.suffix}{_INDEX}") or bool(stem and self.weights(stem))

    def open_(self, path: Place) -> Checkpoint:
        """Open a file, an index or a folder (never its sub-folders); no tensor is read.

        Raises
        ------
        BadFile
            A header lies, a shard is missing or truncated, or the folder holds several models.
        """
        if path.is_dir():
            return self._open_folder(path)
        config = read_config(path.parent)
        if path.name.endswith(_INDEX):
            return self._open_index(path, str(path), config)
        return self._open_files([path], str(path), config)

    def _open_folder(self, folder: Place) -> Checkpoint:
        config = read_config(folder)
        for stem in (*self.models, ADAPTER):
            single = folder / f"{stem}{self.suffix}"
            index = folder / f"{stem}{self.suffix}{_INDEX}"
            if single.is_file():
                notes = tuple(self._beside(folder, single, index))
                return self._open_files([single], str(folder), config, notes)
            if index.is_file():
                opened = self._open_index(index, str(folder), config)
                notes = tuple(self._beside(folder, index, None, opened.files))
                return replace(opened, notes=(*opened.notes, *notes))
        files = self.files(folder)
        shards = [_SHARD.fullmatch(self.stem(file) or "") for file in files]
        if len(files) > 1 and not (all(shards) and len({m["stem"] for m in shards if m}) == 1):
            names = ", ".join(file.name for file in files[:5])
            count = f"{len(files)} {self.name} files"
            raise BadFile(f"{folder}: {count} and no index ({names}); name one")
        missing = _missing_shards([m for m in shards if m])
        if missing:
            lost = f"{missing[0]}{self.suffix} is missing"
            raise BadFile(f"{folder}: {lost} ({len(files)} shards are here)")
        notes = ()
        if len(files) > 1:
            text = f"{len(files)} shards and no index: read together; loaders look for the index"
            notes = (Note("no-index", text, shards=len(files)),)
        return self._open_files(files, str(folder), config, notes)

    def _beside(
        self,
        folder: Place,
        read: Place,
        index: Place | None,
        opened: Iterable[Mapping[str, Any]] = (),
    ) -> Iterator[Note]:
        """Name what else of this format lies in a folder, and is not read."""
        mine = {read.name, *(str(record["name"]) for record in opened)}
        rest = [file.name for file in self.files(folder) if file.name not in mine]
        rest = [name for name in rest if name.removesuffix(self.suffix) not in ADAPTERS_ARE_CALLED]
        if index is not None and index.is_file():
            shards = [name for name in rest if _SHARD.fullmatch(name.removesuffix(self.suffix))]
            rest = [name for name in rest if name not in shards]
            other = f"the {len(shards)} shards that lie here may hold other weights"
            other = other if shards else "none of its shards lies here"
            text = f"{index.name} is ignored: {read.name} comes first; {other}"
            yield Note("index-ignored", text, read=read.name, unread=[index.name, *shards])
        if rest:
            shown = ", ".join(rest[:5]) + (", …" if len(rest) > 5 else "")
            text = f"{shown} beside {read.name}: not read, and may hold other weights"
            yield Note("beside-unread", text, read=read.name, unread=rest)

    def _open_index(self, index: Place, source: str, config: dict[str, Any]) -> Checkpoint:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise BadFile(f"{index}: no weight_map")
        for shard in weight_map.values():
            named = isinstance(shard, str) and _SEPARATES.isdisjoint(shard)
            if not named or shard in ("", ".", ".."):
                raise BadFile(f"{index}: {shard!r} is not the name of a file beside it")
        files = [index.parent / shard for shard in sorted(set(weight_map.values()))]
        opened = self._open_files(files, source, config, weight_map=weight_map)
        for name, shard in weight_map.items():
            if name not in opened.tensors:
                raise BadFile(f"{index}: {name} should be in {shard}, which does not hold it")
        return opened

    def _open_files(
        self,
        files: Iterable[Place],
        source: str,
        config: dict[str, Any],
        notes: tuple[str, ...] = (),
        weight_map: dict[str, str] | None = None,
    ) -> Checkpoint:
        tensors: dict[str, LazyTensor] = {}
        homes: dict[str, str] = {}
        records: list[Mapping[str, Any]] = []
        metadata: dict[str, str] = {}
        unindexed = 0
        for file, header in _headers(self.read_header, [*files]):
            records.append(header.record)
            metadata.update(header.metadata)
            notes = (*notes, *header.notes)
            config = {**header.config, **config}
            for name, tensor in header.tensors.items():
                home = (weight_map or {}).get(name)
                if home not in (None, file.name):
                    continue  # a stale copy: the index names another shard
                if name in tensors:
                    raise BadFile(f"{file}: {name} is also in {homes[name]}")
                unindexed += weight_map is not None and home is None
                tensors[name], homes[name] = tensor, file.name
        if unindexed:
            text = f"{unindexed} tensors are in the shards but not in the index; kept"
            notes = (*notes, Note("unindexed", text, tensors=unindexed))
        notes = (*notes, *averages(tensors))
        return Checkpoint(tensors, source, self.name, config, tuple(records), metadata, notes)


def _headers(read: Callable[[Place], Header], files: list[Place]) -> Iterator[tuple[Place, Header]]:
    """Read the header of each file; of remote ones several at a time."""
    if len(files) < 2 or files[0].folder.is_local:
        yield from ((file, read(file)) for file in files)
        return
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        yield from zip(files, threads.map(read, files), strict=True)


def _missing_shards(shards: list[re.Match[str]]) -> list[str]:
    """Return the stems of the shards that a count promises and that are not here."""
    if not shards:
        return []
    stem, count = shards[0]["stem"], shards[0]["count"]
    here = {match["number"] for match in shards}
    wanted = (f"{i:05d}" for i in range(1, int(count) + 1))
    return [f"{stem}-{n}-of-{count}" for n in wanted if n not in here]
