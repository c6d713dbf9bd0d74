"""From a path, a torch module or a state dict to a `Checkpoint`; one file a format.

To add a format: its file here with a `FORMAT`, which says how its files' names end and reads the
header of one, and its line in `FORMATS`. Models, shards and adapters in it are then found too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats import dcp, gguf_model, memory, pipelines, place, safetensors, torch_zip
from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.formats.container import ADAPTERS_ARE_CALLED, Format, Header
from ftdiff.formats.place import Place
from ftdiff.formats.quantised import Broken, Quantised, dequantising
from ftdiff.formats.unread import why_unread
from ftdiff.registry import Registry

__all__ = [
    "FORMATS",
    "Broken",
    "Checkpoint",
    "Format",
    "Header",
    "Quantised",
    "adapter_in",
    "find",
    "format_of",
    "lone_file",
    "model_in",
    "no_weights",
    "open_checkpoint",
    "open_stored",
]

#: Asked in this order: of a folder's files, those of the first format that has any.
FORMATS: Registry[Format] = Registry(
    "checkpoint format",
    {
        "safetensors": safetensors.FORMAT,
        "torch": torch_zip.FORMAT,
        "dcp": dcp.FORMAT,
        "gguf": gguf_model.FORMAT,
    },
)


def format_of(path: Place) -> Format | None:
    """Return the format of a file, by its name; None for one that holds no weights."""
    return next((known for known in FORMATS.values() if known.stem(path) is not None), None)


def find(path: Place, stem: str) -> Place | None:
    """Return the file of that name, whatever its suffix: `path` itself, or the one in that folder.

    None where there is none: of `stem` "adapter_model", adapter_model.safetensors would be one.
    """
    if not path.is_dir():
        known = format_of(path)
        return path if known is not None and known.stem(path) == stem else None
    named = (path / f"{stem}{known.suffix}" for known in FORMATS.values())
    return next((file for file in named if file.is_file()), None)


def model_in(folder: Place) -> Place | None:
    """Return the file, the index, or the first shard of a whole model's weights in a folder."""
    return next(filter(None, (known.model_in(folder) for known in FORMATS.values())), None)


def adapter_in(folder: Place) -> Place | None:
    """Return the file of an adapter's weights in a folder, by the names that tools give it."""
    return next(filter(None, (find(folder, stem) for stem in ADAPTERS_ARE_CALLED)), None)


def lone_file(folder: Place) -> Place | None:
    """Return the only file of weights in a folder; None where there is none, or several."""
    files = next(filter(None, (known.files(folder) for known in FORMATS.values())), [])
    return files[0] if len(files) == 1 else None


def open_checkpoint(
    source: str | os.PathLike[str] | Place | Checkpoint | Mapping[str, Any] | Any,
) -> Checkpoint:
    """Open a checkpoint: headers only, no weight is read.

    Weights that are stored quantised are lazy tensors of their dequantised values.

    Parameters
    ----------
    source
        A file or a model folder, here, on the hub ("org/name", "hf://org/name@revision") or at an
        address; or what is in memory already: a torch module, a state dict (of torch tensors or
        NumPy arrays), a `Checkpoint`.

    Raises
    ------
    BadFile
        The path does not exist, is of no known format, or contradicts itself.

    Examples
    --------
    >>> import numpy as np
    >>> open_checkpoint({"w": np.zeros((2, 3), np.float32)}).tensors["w"].shape
    (2, 3)
    """
    if isinstance(source, Checkpoint):
        return source
    if not isinstance(source, str | os.PathLike | Place):
        return dequantising(memory.open_(source))
    found = place.find(source)
    if pipelines.recognises(found):
        return pipelines.open_(found, _component)
    return dequantising(open_stored(found))


def _component(folder: Place) -> Checkpoint | None:
    held = any(known.recognises(folder) for known in FORMATS.values())
    return dequantising(open_stored(folder)) if held else None


def no_weights(path: Place) -> str:
    """Say what lies at a path that no format recognises, as a saved result; "" where one does."""
    if pipelines.recognises(path) or any(known.recognises(path) for known in FORMATS.values()):
        return ""
    return why_unread(path, (known.suffix for known in FORMATS.values()))


def open_stored(path: Place) -> Checkpoint:
    """Open a file or a folder with every tensor as it is stored, quantised ones too.

    Raises
    ------
    BadFile
        The path does not exist, is of no known format, or contradicts itself.
    """
    if not path.exists():
        raise BadFile(f"{path}: no such file or folder")
    for known in FORMATS.values():
        if known.recognises(path):
            return known.open_(path)
    raise BadFile(why_unread(path, (known.suffix for known in FORMATS.values())))
