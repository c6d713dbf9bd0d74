"""Files of sd-scripts, LyCORIS and OneTrainer: modules by flattened names, alpha beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.adapters import header
from ftdiff.adapters import single_file as lonefile
from ftdiff.adapters.assembly import Assembly, group
from ftdiff.adapters.lycoris import scale_notes
from ftdiff.adapters.lycoris.flattened_names import TOWERS, Flattened
from ftdiff.adapters.lycoris.suffixes import split
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place

_TOLD = {
    "ss_network_module": "trained with {}",
    "ss_network_dim": "rank {}",
    "ss_network_alpha": "alpha {}",
    "ss_base_model_version": "for {}",
}


def recognises(path: Place) -> bool:
    """Say whether the file's names are flattened modules with parts of an adapter."""
    prefixes = tuple(TOWERS)
    return any(name.startswith(prefixes) and split(name) for name in lonefile.names(path))


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read the header and the alphas, and find every module among the base's own names.

    Raises
    ------
    BadFile
        The header lies.
    """
    file = lonefile.find(path)
    assert file is not None
    opened = open_stored(file)
    target = Flattened(base)
    modules, unmatched = group(opened.tensors, split)
    assembly = Assembly(base, opened.tensors, unmatched=unmatched)
    assembly.read(modules, target, target.why_lost)
    evidence = (header.of_scripts, header.alpha_of, header.of_json)
    told = next(filter(None, (of(opened.metadata) for of in evidence)), None)
    assembly.note(*scale_notes.notes(modules, told))
    if told is not None and not any("alpha" in parts for parts in modules.values()):
        why = "no module has an alpha of its own, and sd-scripts and ComfyUI then scale by 1"
        assembly.note(header.unused(told, why))
    return assembly.tuned(opened, _config(opened.metadata), _notes(opened.metadata))


def _config(metadata: Mapping[str, str]) -> dict[str, Any]:
    named = metadata.get("ss_sd_model_name") or metadata.get("ss_base_model_version")
    return {"base_model_name_or_path": named} if named else {}


def _notes(metadata: Mapping[str, str]) -> tuple[str, ...]:
    told = [text.format(metadata[key]) for key, text in _TOLD.items() if metadata.get(key)]
    return (Note("trainer-metadata", f"the file says: {', '.join(told)}"),) if told else ()
