"""Tensors of an adapter's file that are whole copies of the model's, and those that are no part."""

from __future__ import annotations

from ftdiff.adapters.family import Adapter, Reading, Target
from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.naming import locate
from ftdiff.tensors import LazyTensor

#: Why a key that is no copy is not read.
STRAY = "neither a part of the adapter nor a tensor of the model"
#: How the tensors of models' layers end.
_ENDS = ("weight", "bias")


def saved_copies(adapter: Adapter) -> Reading:
    """Return a replacement for each saved copy, by the base's name; and what is none, by its key.

    A copy is also what the configuration says is saved whole (`modules_to_save`), whether or not
    the base has it.
    """
    recipes: dict[str, Recipe] = {}
    unmatched: dict[str, str] = {}
    saved = adapter.config.get("modules_to_save")
    told = frozenset(map(str, saved)) if isinstance(saved, list) else frozenset()
    for name, tensor in adapter.plain.items():
        if is_copy(name, tensor, adapter.target, told):
            recipes[adapter.target.name(name, tensor.shape)] = Replaced(tensor)
        else:
            unmatched[adapter.key(tensor)] = STRAY
    return Reading(recipes, unmatched=unmatched)


def is_copy(
    name: str, tensor: LazyTensor, target: Target, told: frozenset[str] = frozenset()
) -> bool:
    """Say whether a tensor is a saved copy of one of the model's.

    It is if the base has it, or if it is called as tensors of models are and is of an embedding,
    a head, or one of the modules that are said to be saved. Without a base its name decides.

    Parameters
    ----------
    name, tensor
        As the adapter spells it, without wrappers.
    target
        The base.
    told
        Words of the paths of modules that are saved whole.
    """
    if target.find(target.name(name, tensor.shape)) is not None:
        return True
    words = name.split(".")
    if words[-1] not in _ENDS or any(word.startswith("lora") for word in words):
        return False
    if not target.names or not told.isdisjoint(words):
        return True
    return locate([name])[name].block in ("embed", "head")
