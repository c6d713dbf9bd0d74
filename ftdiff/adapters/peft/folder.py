"""PEFT's folders: `adapter_config.json`, the weights `adapter_model`, a family for each type."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ftdiff.adapters import header
from ftdiff.adapters.account import by_key, with_parts
from ftdiff.adapters.family import Adapter, Family, Module, Reading, Target, WholeFamily
from ftdiff.adapters.gguf_names import of_llama_cpp
from ftdiff.adapters.loading import peft as loading
from ftdiff.adapters.loading import sentences
from ftdiff.adapters.peft import capabilities as capability
from ftdiff.adapters.peft import replicas, targets
from ftdiff.adapters.peft.by_peft.family import OneModule
from ftdiff.adapters.peft.closed_form import ClosedForm
from ftdiff.adapters.peft.closed_forms import (
    adalora,
    delora,
    gralora,
    ia3,
    ln_tuning,
    loha,
    lokr,
    lora,
    trainable_tokens,
    vblora,
    vera,
)
from ftdiff.adapters.peft.unmergeable import BesideFamily
from ftdiff.adapters.saved_copies import saved_copies
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadAdapter, BadFile
from ftdiff.formats import FORMATS, Checkpoint, find, open_stored
from ftdiff.formats.checkpoint import read_json
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place
from ftdiff.registry import Registry
from ftdiff.tensors import LazyTensor

CONFIG = header.CONFIG
#: How the weights are called, before the suffix of their format.
WEIGHTS = "adapter_model"
#: What they were before, and are not read from.
PICKLE = "adapter_model.bin"

#: PEFT's `peft_type` and the family that reads it.
FAMILIES: Registry[Family] = Registry(
    "PEFT type",
    {
        "ADALORA": adalora.FORM,
        "DELORA": delora.FORM,
        "GRALORA": gralora.FORM,
        "IA3": ia3.FORM,
        "LN_TUNING": ln_tuning.FORM,
        "LOHA": loha.FORM,
        "LOKR": lokr.FORM,
        "LORA": lora,
        "TRAINABLE_TOKENS": trainable_tokens.FORM,
        "VBLORA": vblora.FORM,
        "VERA": vera.FORM,
    },
)

_PREFIX = "base_model.model."
_SHARED = "base_model."


def recognises(path: Place) -> bool:
    """Say whether `path` is an adapter folder, or the weights file in one."""
    folder = path.home
    return (path.is_dir() or find(path, WEIGHTS) is not None) and (folder / CONFIG).is_file()


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Read an adapter's configuration and header, and resolve every module's change.

    Raises
    ------
    BadFile, BadAdapter
        A file is missing or lies, or the type has no reader.
    """
    folder = path.home
    config, opened = read_json(folder / CONFIG), open_weights(path)
    tuned = read(config, opened, base, folder / CONFIG)
    loaded = _loaded(config, opened, base, tuned.layout)
    notes = (*loaded, *tuned.notes, *header.contradicted(opened.metadata, config))
    return replace(tuned, source=str(path), notes=notes)


def read(
    config: Mapping[str, Any], opened: Checkpoint, base: Checkpoint | None, origin: Place
) -> Tuned:
    """Resolve every module's change.

    Parameters
    ----------
    config, origin
        The configuration, and the file that it is from.
    opened
        The opened weights.
    base
        The opened base, if there is one.

    Raises
    ------
    BadAdapter
        The type has no reader, or the files contradict each other.
    """
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        raise BadAdapter(f"{origin}: no peft_type")
    family = family_for(config)
    family.check(config)
    layout = replicas.layout(config, base.tensors if base is not None else ())
    target = Target(base.arranged(layout) if base is not None and layout else base)
    adapter = _sort(opened.tensors, family, config, target)
    if isinstance(family, WholeFamily):
        reading = family.read_all(adapter)
    else:
        reading = _each(adapter, family)
    return Tuned(
        recipes=reading.recipes,
        source=opened.source,
        kind=family.kind(config),
        config=config,
        scalings=reading.scalings,
        unmatched=reading.unmatched,
        layout=layout,
        files=opened.files,
        notes=(
            *opened.notes,
            *targets.absent(config, adapter.modules),
            *reading.notes,
            *target.notes,
        ),
        given=opened.tensors,
        spent={**_again(adapter, opened.tensors), **reading.spent},
    )


def _loaded(
    config: Mapping[str, Any],
    opened: Checkpoint,
    base: Checkpoint | None,
    layout: Mapping[str, str],
) -> tuple[Note, ...]:
    """Say what PEFT would not fill from the file."""
    held = None if base is None else base.arranged(layout) if layout else base
    if held is not None and of_llama_cpp(held.tensors):
        held = None  # PEFT loads the model that this one was converted from
    of_base = None if held is None else {name: t.shape for name, t in held.tensors.items()}
    shapes = {name: tensor.shape for name, tensor in opened.tensors.items()}
    found = loading.check(config, shapes, of_base, held.config if held is not None else None)
    return sentences.notes(found)


def family_for(config: Mapping[str, Any]) -> Family:
    """Return who reads an adapter: a closed form, PEFT itself, or who lists its norms.

    Raises
    ------
    UnknownName, Irreproducible
        The table of capabilities does not know the type, or this configuration of it.
    """
    row = capability.of(config)
    if row.way == "closed":
        return FAMILIES[row.type]
    return BesideFamily(row) if row.way == "beside" else OneModule(row)


def _each(adapter: Adapter, family: Family) -> Reading:
    """Read module by module; saved copies of base tensors are replacements."""
    config, target, shared = adapter.config, adapter.target, adapter.shared
    copies = saved_copies(adapter)
    recipes, unmatched = dict(copies.recipes), dict(copies.unmatched)
    known = {
        name: tensor
        for name, tensor in shared.items()
        if isinstance(family, ClosedForm) and name in family.shared
    }
    unmatched |= {
        adapter.key(tensor): "no module of this type uses it"
        for name, tensor in shared.items()
        if name not in known
    }
    scalings: dict[str, str] = {}
    notes: dict[str, None] = {}
    spent: dict[str, tuple[str, ...]] = {}
    for path, tensors in adapter.modules.items():
        made = family.read(Module(path, tensors, config, target, shared))
        made = with_parts(made, {**known, **tensors})
        recipes.update(made.recipes)
        scalings.update(made.scalings)
        unmatched.update({adapter.key(tensors[part]): why for part, why in made.unmatched.items()})
        spent.update({adapter.key(tensors[part]): names for part, names in made.spent.items()})
        notes.update(dict.fromkeys(made.notes))
    return Reading(recipes, scalings, unmatched, tuple(notes), spent)


def open_weights(path: Place) -> Checkpoint:
    """Open the weights of a folder, or the file itself; nothing is made of them.

    Raises
    ------
    BadFile
        There are none, or they are not what they claim to be.
    """
    weights = find(path, WEIGHTS)
    if weights is not None:
        return open_stored(weights)
    wanted = " or ".join(f"{WEIGHTS}{known.suffix}" for known in FORMATS.values())
    raise BadFile(f"{path}: {CONFIG} is here, but no {wanted}")


def _sort(
    tensors: Mapping[str, LazyTensor], family: Family, config: Mapping[str, Any], target: Target
) -> Adapter:
    """Sort keys: an adapted module's (by path, then suffix), saved copies, what modules share."""
    modules: dict[str, dict[str, LazyTensor]] = defaultdict(dict)
    plain: dict[str, LazyTensor] = {}
    shared: dict[str, LazyTensor] = {}
    for key, tensor in tensors.items():
        if key.startswith(_SHARED) and not key.startswith(_PREFIX):
            shared[key.removeprefix(_SHARED)] = tensor
            continue
        name = key.removeprefix(_PREFIX)
        found = family.split(name)
        if found is None:
            bare = plain_name(name)
            if name == bare or bare not in plain:  # a trained module's other copies are not read
                plain[bare] = tensor
        else:
            path, suffix = found
            if suffix in modules[path]:
                raise BadAdapter(
                    f"{key}: a second {suffix} of {path}: the file holds several adapters"
                    f"{_named(tensors)}; save each into a folder of its own"
                )
            modules[path][suffix] = tensor
    return Adapter(modules, plain, shared, config, target, by_key(tensors))


def _again(adapter: Adapter, tensors: Mapping[str, LazyTensor]) -> dict[str, tuple[str, ...]]:
    """Return the keys of further copies of what is saved, and what that is.

    Where biases are saved too, PEFT writes those of a saved module three times: as they are, and
    as the wrapper around the module has them, before the training and after it.
    """
    found: dict[str, tuple[str, ...]] = {}
    for key, tensor in tensors.items():
        bare = plain_name(key.removeprefix(_PREFIX))
        if bare in adapter.plain and adapter.plain[bare] is not tensor:
            found[key] = (adapter.target.name(bare, tensor.shape),)
    return found


def _named(tensors: Mapping[str, LazyTensor]) -> str:
    """Return the adapters' names that stand in LoRA's keys, as the end of a sentence."""
    found = {name[1] for key in tensors if (name := re.search(r"\.lora_[AB]\.([^.]+)\.", key))}
    return f", {' and '.join(sorted(found))}" if len(found) > 1 else ""


def plain_name(name: str) -> str:
    """Undo the wrappers of saved copies: `modules_to_save`, and biases inside a LoRA layer."""
    words = name.split(".")
    if "modules_to_save" in words:
        at = words.index("modules_to_save")
        # modules_to_save.<adapter name>.weight, or modules_to_save.weight
        rest = words[at + 1 :]
        words = words[:at] + (rest[1:] if len(rest) > 1 else rest)
    return ".".join(word for word in words if word not in ("base_layer", "original_module"))


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `inspect` shows of a configuration, before any weight."""
    wanted = ("peft_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules")
    return {name: config[name] for name in wanted if config.get(name) is not None}
