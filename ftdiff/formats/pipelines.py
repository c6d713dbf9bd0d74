"""diffusers' pipelines: `model_index.json`, and a folder of weights for each component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.checkpoint import Checkpoint, read_json
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.tensors import LazyTensor

INDEX = "model_index.json"


def recognises(path: Place) -> bool:
    """Say whether a folder is a pipeline's, and holds no weights of its own."""
    return path.is_dir() and (path / INDEX).is_file()


def open_(path: Place, open_one: Callable[[Place], Checkpoint | None]) -> Checkpoint:
    """Open every component under its own name: `unet.…`, `text_encoder.…`.

    Parameters
    ----------
    path
        The folder.
    open_one
        Opens a component's folder; None where it holds no weights.

    Raises
    ------
    BadFile
        No component has weights, or one cannot be read.
    """
    told = read_json(path / INDEX)
    tensors: dict[str, LazyTensor] = {}
    files: list[dict[str, Any]] = []
    notes: list[str] = []
    parts = []
    for folder in path.folders():
        opened = open_one(folder)
        if opened is None:
            continue
        parts.append(folder.name)
        tensors |= {f"{folder.name}.{name}": tensor for name, tensor in opened.tensors.items()}
        files += [{**one, "name": f"{folder.name}/{one['name']}"} for one in opened.files]
        notes += [_of(folder.name, note) for note in opened.notes]
    wanted = [name for name, made in told.items() if isinstance(made, list) and made and made[0]]
    if not tensors:
        raise BadFile(f"{path}: a pipeline of which no component has weights here")
    lost = [name for name in wanted if not (path / name).is_dir()]
    if lost:
        text = f"{INDEX} names {', '.join(lost)}, and no such folder is here"
        notes.append(Note("components-missing", text, components=lost))
    text = f"a pipeline: {', '.join(parts)} are its components"
    notes.insert(0, Note("pipeline", text, components=parts))
    config = {"_class_name": told.get("_class_name"), "model_type": "diffusers pipeline"}
    return Checkpoint(tensors, str(path), "pipeline", config, tuple(files), {}, tuple(notes))


def _of(component: str, note: str) -> str:
    if not isinstance(note, Note):
        return f"{component}: {note}"
    return Note(note.code, f"{component}: {note}", **note.data)
