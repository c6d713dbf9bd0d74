"""llama.cpp's names, found among the base's own through the table of the `gguf` package."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from ftdiff.errors import BadAdapter, require
from ftdiff.formats import Checkpoint
from ftdiff.naming import strip_wrappers

_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_MOST_LAYERS = 4096


class Names:
    """The base's names by llama.cpp's; without a base, llama.cpp's own.

    Parameters
    ----------
    base
        The opened base, if there is one.
    arch
        `general.architecture`.

    Raises
    ------
    BadAdapter
        The installed `gguf` does not know the architecture.
    MissingExtra
        `gguf` is not installed, and there is a base.
    """

    def __init__(self, base: Checkpoint | None, arch: str) -> None:
        self._found: dict[str, tuple[str, ...]] = {}
        if base is not None:
            self._found = _inverse(base, arch)

    def find(self, name: str) -> tuple[str, ...]:
        """Return the base's name, or the names of every expert in order; else `name` itself."""
        return self._found.get(name, (name,))

    def why_lost(self, name: str) -> str:
        """Say why the base has no tensor of that name."""
        return "llama.cpp's table of names leads to no tensor of the base"


def of_llama_cpp(names: Iterable[str]) -> bool:
    """Say whether a model's names are llama.cpp's.

    >>> of_llama_cpp(["blk.0.attn_q.weight"]), of_llama_cpp(["model.layers.0.mlp.up_proj.weight"])
    (True, False)
    """
    return any(name == "token_embd.weight" or name.startswith("blk.") for name in names)


def _inverse(base: Checkpoint, arch: str) -> dict[str, tuple[str, ...]]:
    library = require("gguf", "gguf", "matching llama.cpp's names with the base's")
    archs = {word: number for number, word in library.MODEL_ARCH_NAMES.items()}
    if arch not in archs:
        raise BadAdapter(f"general.architecture {arch!r} is not known to the installed gguf")
    numbers = (int(word) for name in base.tensors for word in re.findall(r"\.(\d{1,4})\.", name))
    layers = min(_MOST_LAYERS, max(numbers, default=0) + 1)
    table = library.get_tensor_name_map(archs[arch], layers)
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for name in base.tensors:
        expert = _EXPERT.search(name)
        merged = _EXPERT.sub(".experts.", name)
        for spelling in (merged, f"model.{strip_wrappers(merged)}"):
            theirs = table.get_name(spelling, (".weight", ".bias"))
            if theirs is not None:
                found[theirs][int(expert[1]) if expert else 0] = name
                break
    return {
        theirs: tuple(names[e] for e in range(len(names)))
        for theirs, names in found.items()
        if sorted(names) == list(range(len(names)))
    }
