"""Tensors of an adapter's file that are whole copies of the model's, and those that are no part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftdiff.adapters.family import Adapter, Reading, Target
from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.naming import locate
from ftdiff.tensors import LazyTensor

_STRAY = "neither a part of the adapter nor a tensor of the model"
#: How the tensors of models' layers end.
_ENDS = ("weight", "bias")


def saved_copies(adapter: Adapter) -> Reading:
    """Return a replacement for each saved copy, by the base's name; and what is none, by its key.

    A copy is of a tensor that the base has, or of a module that the configuration saves whole, or
    of an embedding or a head, which PEFT saves of its own accord. Without a base every tensor may
    be one that is called as tensors of models are.
    """
    recipes: dict[str, Recipe] = {}
    unmatched: dict[str, str] = {}
    for name, tensor in adapter.plain.items():
        if _is_copy(name, tensor, adapter.config, adapter.target):
            recipes[adapter.target.name(name, tensor.shape)] = Replaced(tensor)
        else:
            unmatched[adapter.key(tensor)] = _STRAY
    return Reading(recipes, unmatched=unmatched)


def _is_copy(name: str, tensor: LazyTensor, config: Mapping[str, Any], target: Target) -> bool:
    words = name.split(".")
    saved = config.get("modules_to_save")
    if isinstance(saved, list) and not {*words}.isdisjoint(map(str, saved)):
        return True
    if target.find(target.name(name, tensor.shape)) is not None:
        return True
    if words[-1] not in _ENDS or any(word.startswith("lora") for word in words):
        return False
    return not target.names or locate([name])[name].block in ("embed", "head")
