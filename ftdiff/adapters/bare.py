"""A safetensors file with PEFT's factors and no configuration of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ftdiff.adapters import header
from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.peft import folder as peft
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadAdapter
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place

_FACTOR = re.compile(r".+\.lora_(embedding_)?[AB](\.[^.]+)??(\.weight)?")
_FIRST = re.compile(r".+\.lora_(embedding_)?[Aa](\.[^.]+)??(\.weight)?")


def recognises(path: Place) -> bool:
    """Say whether the file holds LoRA factors as PEFT names them."""
    return any(_FACTOR.fullmatch(name) for name in lonefile.names(path))


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read factors whose scale is in the file's header, or in a configuration beside it.

    Raises
    ------
    BadFile, BadAdapter
        The header lies, or nothing says what α is.
    """
    file = lonefile.find(path)
    assert file is not None
    opened = open_stored(file)
    config, notes = configured(file, opened)
    tuned = peft.read(config, opened, base, file.parent / peft.CONFIG)
    return replace(tuned, notes=(*tuned.notes, *notes))


def configured(file: Place, opened: Checkpoint) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Return a LoRA configuration, the one beside the file or the α in its header, and notes.

    Raises
    ------
    BadFile, BadAdapter
        The configuration is no JSON, or there is none.
    """
    config, told = header.beside(file), header.alpha_of(opened.metadata)
    if config:
        return config, header.contradicted(opened.metadata, config)
    if told is not None:
        ranks = _ranks(opened)
        return told.config, (*header.used(told, ranks), *header.rank_note(told, ranks))
    raise BadAdapter(
        f"{file}: LoRA factors, but nothing says how they are scaled; put an {peft.CONFIG} beside "
        'it: {"peft_type": "LORA", "r": …, "lora_alpha": …}'
    )


def _ranks(opened: Checkpoint) -> tuple[int, ...]:
    firsts = (t.shape for name, t in opened.tensors.items() if _FIRST.fullmatch(name))
    return tuple(sorted({shape[0] for shape in firsts if shape}))
