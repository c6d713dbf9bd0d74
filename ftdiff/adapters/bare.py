"""A safetensors file with PEFT's factors and no configuration of its own."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.peft import folder as peft
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.checkpoint import read_json

_FACTOR = re.compile(r".+\.lora_(embedding_)?[AB](\.[^.]+)??(\.weight)?")
_ALPHA = ("lora_alpha", "alpha", "network_alpha")


def recognises(path: Path) -> bool:
    """Say whether the file holds LoRA factors as PEFT names them."""
    return any(_FACTOR.fullmatch(name) for name in lonefile.names(path))


def open_(path: Path, base: Checkpoint | None) -> Tuned:
    """Read factors whose scale is in the file's metadata, or in a configuration beside it.

    Raises
    ------
    BadFile, BadAdapter
        The header lies, or nothing says what α is.
    """
    file = lonefile.find(path)
    assert file is not None
    opened = open_stored(file)
    return peft.read(configured(file, opened), opened, base, file.parent / peft.CONFIG)


def configured(file: Path, opened: Checkpoint) -> dict[str, Any]:
    """Return a LoRA configuration: the one beside the file, or the α in its metadata.

    Raises
    ------
    BadFile, BadAdapter
        The configuration is no JSON, or there is none.
    """
    beside = file.parent / peft.CONFIG
    if beside.is_file():
        return read_json(beside)
    for key in _ALPHA:
        try:
            alpha = float(opened.metadata[key])
        except (KeyError, ValueError):
            continue
        if math.isfinite(alpha):
            return {"peft_type": "LORA", "lora_alpha": alpha}
    raise BadAdapter(
        f"{file}: LoRA factors, but nothing says how they are scaled; put an {peft.CONFIG} beside "
        'it: {"peft_type": "LORA", "r": …, "lora_alpha": …}'
    )
