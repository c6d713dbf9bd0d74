"""PEFT's folders: `adapter_config.json`, `adapter_model.safetensors`, and a family for each type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftdiff.adapters import lora
from ftdiff.adapters.module import Family, Module, Target
from ftdiff.errors import BadAdapter, BadFile
from ftdiff.formats import Checkpoint, safetensors
from ftdiff.formats.checkpoint import read_json
from ftdiff.recipes import Recipe, Replaced, Tuned
from ftdiff.registry import Registry
from ftdiff.tensors import LazyTensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

#: PEFT's `peft_type` and the family that reads it.
FAMILIES: Registry[Family] = Registry("PEFT type", {"LORA": lora})

_PREFIX = "base_model.model."


def recognises(path: Path) -> bool:
    """Say whether `path` is an adapter folder, or the weights file in one."""
    folder = path if path.is_dir() else path.parent
    return (path.is_dir() or path.name == WEIGHTS) and (folder / CONFIG).is_file()


def open_(path: Path, base: Checkpoint | None) -> Tuned:
    """Read an adapter's configuration and header, and resolve every module's change.

    Raises
    ------
    BadFile, BadAdapter
        A file is missing or lies, or the type has no reader.
    """
    folder = path if path.is_dir() else path.parent
    config = read_json(folder / CONFIG)
    kind = config.get("peft_type")
    if not isinstance(kind, str):
        raise BadAdapter(f"{folder / CONFIG}: no peft_type")
    family = FAMILIES[kind]
    family.check(config)
    opened = _open_weights(folder)
    modules, plain = _by_module(opened.tensors, family)
    target = Target(base)
    recipes: dict[str, Recipe] = {}
    scalings: dict[str, str] = {}
    for name, tensor in plain.items():
        recipes[target.name(name, tensor.shape)] = Replaced(tensor)
    unmatched: dict[str, str] = {}
    for module_path, tensors in modules.items():
        made = family.read(Module(module_path, tensors, config, target))
        recipes.update(made.recipes)
        scalings.update(made.scalings)
        unmatched.update(made.unmatched)
    return Tuned(
        recipes=recipes,
        source=str(path),
        kind=family.kind(config),
        config=config,
        scalings=scalings,
        unmatched=unmatched,
        files=opened.files,
        notes=opened.notes,
    )


def _open_weights(folder: Path) -> Checkpoint:
    weights = folder / WEIGHTS
    if weights.is_file():
        return safetensors.open_(weights)
    if (folder / "adapter_model.bin").is_file():
        raise BadFile(
            f"{folder}: adapter_model.bin is a pickle, which can run code when it is read; save it "
            "again with a recent peft, which writes adapter_model.safetensors"
        )
    raise BadFile(f"{folder}: {CONFIG} is here, but no {WEIGHTS}")


def _by_module(
    tensors: Mapping[str, LazyTensor], family: Family
) -> tuple[dict[str, dict[str, LazyTensor]], dict[str, LazyTensor]]:
    """Split keys into the adapted modules' (by path, then suffix) and plain tensors' (by name)."""
    modules: dict[str, dict[str, LazyTensor]] = defaultdict(dict)
    plain: dict[str, LazyTensor] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        found = family.split(name)
        if found is None:
            plain[_plain_name(name)] = tensor
        else:
            path, suffix = found
            modules[path][suffix] = tensor
    return modules, plain


def _plain_name(name: str) -> str:
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
