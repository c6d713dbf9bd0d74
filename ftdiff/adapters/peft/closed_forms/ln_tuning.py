"""LN tuning: norms, or whatever was targeted, replaced by trained copies.

Zhao et al., Tuning LayerNorm in Attention, ICLR 2024.
"""

from __future__ import annotations

import re

from ftdiff.adapters.family import Module, Reading
from ftdiff.adapters.peft.closed_form import ClosedForm
from ftdiff.adapters.saved_copies import STRAY, is_copy
from ftdiff.deltas.recipes import Recipe, Replaced

_KEY = re.compile(r"(?P<path>.+?)\.ln_tuning_layers\.(?:default\.)?(?P<rest>.+)")


def split(name: str) -> tuple[str, str] | None:
    """Return the path of a copied module and its own name of the tensor; None for another key."""
    found = _KEY.fullmatch(name)
    return (found["path"], found["rest"]) if found else None


def read(module: Module) -> Reading:
    """Return the recipes of all tensors of a copied module."""
    recipes: dict[str, Recipe] = {}
    unmatched: dict[str, str] = {}
    for rest, tensor in module.tensors.items():
        name = f"{module.path}.{rest}"
        if is_copy(name, tensor, module.target, frozenset(name.split("."))):
            recipes[module.target.name(name, tensor.shape)] = Replaced(tensor)
        else:
            unmatched[rest] = STRAY
    told = dict.fromkeys(recipes, "1: the file holds the tuned values")
    return Reading(recipes, told, unmatched)


FORM = ClosedForm("ln_tuning", split, read)
