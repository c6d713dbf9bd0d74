"""From adapter files to recipes: one file per family, one front door for every fine-tune.

To add an adapter type of another tool: `<family>.py` here with `recognises` and `open_`, and its
line in `ADAPTERS`, before the families that would take its files too. What it returns names every
key of its files (`Tuned.given`); those that it makes nothing of are named in `account`. A PEFT
type: see `peft`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ftdiff.adapters import bare, diffusers, kohya, mlx, torchtune
from ftdiff.adapters import llama_cpp as gguf
from ftdiff.adapters.account import settled
from ftdiff.adapters.peft import folder as peft_folder
from ftdiff.deltas.recipes import Replaced, Tuned
from ftdiff.errors import BadFile
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.registry import Registry

__all__ = ["ADAPTERS", "AdapterFiles", "open_tuned"]


class AdapterFiles(Protocol):
    """What a module that reads one tool's adapter files defines."""

    def recognises(self, path: Path) -> bool:
        """Say whether `path` is of this family, from names and small files alone."""

    def open_(self, path: Path, base: Checkpoint | None) -> Tuned:
        """Read the headers and resolve every number that decides the change."""


#: Asked in this order; what none recognises is a full checkpoint.
ADAPTERS: Registry[AdapterFiles] = Registry(
    "adapter family",
    {
        "mlx": mlx,
        "peft": peft_folder,
        "gguf": gguf,
        "kohya": kohya,
        "diffusers": diffusers,
        "torchtune": torchtune,
        "bare": bare,
    },
)


def open_tuned(
    source: str | os.PathLike[str] | Tuned | Checkpoint | Mapping[str, Any] | Any,
    base: Checkpoint | None = None,
) -> Tuned:
    """Open a fine-tune: a full checkpoint or an adapter, told apart by itself.

    Parameters
    ----------
    source
        A path, or what `open_checkpoint` takes.
    base
        The opened base, which decides names and orientations where an adapter leaves them open.

    Raises
    ------
    BadFile, BadAdapter
        The files are not what they claim to be, or contradict each other.
    """
    if isinstance(source, Tuned):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not os.fspath(source):
            raise BadFile("'': an empty path; this folder is called .")
        if not path.exists():
            raise BadFile(f"{path}: no such file or folder")
        for family in ADAPTERS.values():
            if family.recognises(path):
                return settled(family.open_(path, base))
    checkpoint = open_checkpoint(source)
    whole = Tuned(
        recipes={name: Replaced(tensor) for name, tensor in checkpoint.tensors.items()},
        source=checkpoint.source,
        kind="full",
        config=checkpoint.config,
        files=checkpoint.files,
        notes=checkpoint.notes,
        given=checkpoint.tensors,
    )
    return settled(whole)
