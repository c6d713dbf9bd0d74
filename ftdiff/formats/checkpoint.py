"""What a checkpoint is, whatever it was stored in: names to lazy tensors, and a configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.place import Place
from ftdiff.formats.pointers import refuse_pointer
from ftdiff.tensors import LazyTensor

_LARGEST_JSON = 64 << 20


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; no tensor has been read.

    Attributes
    ----------
    tensors
        Lazy tensors by name.
    source
        The path, or what the object in memory was.
    format
        The format's name in `FORMATS`, or "memory".
    config
        `config.json`, where one lies beside the weights.
    files
        What was opened: name, bytes, and a digest of the header, for provenance.
    metadata
        The files' own metadata, where the format has some.
    notes
        What is odd but readable, in sentences.
    """

    tensors: Mapping[str, LazyTensor]
    source: str
    format: str
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def arranged(self, layout: Mapping[str, str]) -> Checkpoint:
        """Return the same tensors under other names: some twice, some not at all."""
        held = {new: self.tensors[old] for new, old in layout.items() if old in self.tensors}
        return replace(self, tensors=held)


def parse_json(text: str, **options: Any) -> Any:
    r"""Parse JSON whose texts can be written again: half a character (\ud800) cannot.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON, or holds such a text.
    """
    found = json.loads(text, **options)
    if "\\ud" in text.lower():
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def _decoded(raw: bytes) -> str:
    return raw.decode(json.detect_encoding(raw))


def read_json(path: Place, *, halves: bool = False, largest: int = _LARGEST_JSON) -> dict[str, Any]:
    """Read a JSON object from a small file: of at most `largest` bytes.

    With `halves`, texts may hold half a character, as a tokenizer's do; whoever asks shows them.

    Raises
    ------
    BadFile
        The file is too large, not JSON, or not an object.
    """
    try:
        text = _decoded(path.read(largest))
        found = json.loads(text) if halves else parse_json(text)
    except (ValueError, RecursionError) as error:
        refuse_pointer(path)
        raise BadFile(f"{path}: not valid JSON ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise BadFile(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def read_config(folder: Place) -> dict[str, Any]:
    """Return `config.json` of a model folder, or nothing where there is none."""
    path = folder / "config.json"
    return read_json(path) if path.is_file() else {}
