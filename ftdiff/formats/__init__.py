"""From a path, a torch module or a state dict to a `Checkpoint`; one file a format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ftdiff.errors import BadFile
from ftdiff.formats import memory, safetensors
from ftdiff.formats.checkpoint import Checkpoint
from ftdiff.formats.quantised import Broken, Quantised, dequantising
from ftdiff.registry import Registry

__all__ = ["FORMATS", "Broken", "Checkpoint", "Format", "Quantised", "open_checkpoint"]


class Format(Protocol):
    """What a format's file answers."""

    def recognises(self, path: Path) -> bool:
        """Say whether `path` is of this format, from names alone."""

    def open_(self, path: Path) -> Checkpoint:
        """Read the headers of `path`."""


#: Asked in this order.
FORMATS: Registry[Format] = Registry("checkpoint format", {"safetensors": safetensors})


def open_checkpoint(
    source: str | os.PathLike[str] | Checkpoint | Mapping[str, Any] | Any,
) -> Checkpoint:
    """Open a checkpoint: headers only, no weight is read.

    Weights that are stored quantised are lazy tensors of their dequantised values.

    Parameters
    ----------
    source
        A file, a model folder, or what is in memory already: a torch module, a state dict (of
        torch tensors or NumPy arrays), a `Checkpoint`.

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
    if not isinstance(source, str | os.PathLike):
        return dequantising(memory.open_(source))
    path = Path(source)
    if not os.fspath(source):  # an unset variable of the shell, not this folder
        raise BadFile("'': an empty path; this folder is called .")
    if not path.exists():
        raise BadFile(f"{path}: no such file or folder")
    for known in FORMATS.values():
        if known.recognises(path):
            return dequantising(known.open_(path))
    raise BadFile(_unrecognised(path))


def _unrecognised(path: Path) -> str:
    pickles = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else [path.name]
    pickled = [name for name in names if name.endswith(pickles)]
    if pickled:
        return (
            f"{path}: {pickled[0]} is a pickle, which can run code when it is read; save it as "
            "safetensors (save_pretrained(..., safe_serialization=True))"
        )
    if path.is_dir():
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        return f"{path}: no weights here (looked for *.safetensors; found {shown or 'nothing'})"
    return f"{path}: not a .safetensors file or a folder with one"
