"""Every family of adapter files, in the order in which they are asked."""

from __future__ import annotations

from typing import Protocol

from ftdiff.adapters import bare, diffusers, kohya, mlx, torchtune, unknown, xlabs
from ftdiff.adapters import llama_cpp as gguf
from ftdiff.adapters.peft import folder as peft_folder
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.place import Place
from ftdiff.registry import Registry


class AdapterFiles(Protocol):
    """What a module that reads one tool's adapter files defines."""

    def recognises(self, path: Place) -> bool:
        """Say whether `path` is of this family, from names and small files alone."""

    def open_(self, path: Place, base: Checkpoint | None) -> Tuned:
        """Read the headers and resolve every number that decides the change."""


#: Asked in this order; what none recognises is a full checkpoint.
ADAPTERS: Registry[AdapterFiles] = Registry(
    "adapter family",
    {
        "mlx": mlx,
        "peft": peft_folder,
        "gguf": gguf,
        "kohya": kohya,
        "xlabs": xlabs,
        "diffusers": diffusers,
        "torchtune": torchtune,
        "bare": bare,
        "unknown": unknown,
    },
)
