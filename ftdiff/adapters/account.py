"""Every key of a fine-tune's files is accounted for: read, or named with the reason.

A family says what it makes of its keys; whether that is all of them is checked here for all
families alike, so that none can lose a key by forgetting it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from ftdiff.adapters.family import Reading
from ftdiff.deltas.recipes import Tuned, Unreadable
from ftdiff.deltas.recipes.held import stored
from ftdiff.tensors import LazyTensor, numel

#: What became of a key: its values are in a change, or it is known to be no part of one; it is of
#: a change that cannot be had, or fits the base by its name alone; it led to no change of the base;
#: its changes were not asked for.
Fate: TypeAlias = Literal["read", "unreadable", "unmatched", "left out"]

_NO_READER = "nothing that reads such an adapter uses it"


def settled(tuned: Tuned) -> Tuned:
    """Return the fine-tune with every key that nothing accounts for among the unmatched ones."""
    reached = readers(tuned)
    forgotten = {
        key: _NO_READER
        for key in tuned.given
        if not reached[key] and key not in tuned.spent and key not in tuned.unmatched
    }
    return replace(tuned, unmatched={**tuned.unmatched, **forgotten}) if forgotten else tuned


def readers(tuned: Tuned) -> dict[str, tuple[str, ...]]:
    """Return for each key of the files the recipes that hold it, or a number that it gave."""
    keys = {id(tensor): key for key, tensor in tuned.given.items()}
    found: dict[str, dict[str, None]] = {key: {} for key in tuned.given}
    for name, recipe in tuned.recipes.items():
        for tensor in stored(recipe):
            key = keys.get(id(tensor))
            if key is not None:
                found[key][name] = None
    for key, names in tuned.spent.items():
        found[key].update(dict.fromkeys(name for name in names if name in tuned.recipes))
    return {key: tuple(names) for key, names in found.items()}


def fates(
    tuned: Tuned,
    lost: Collection[str] = (),
    unreadable: Collection[str] = (),
    left_out: Collection[str] = (),
) -> dict[str, Fate]:
    """Return what became of each key.

    Parameters
    ----------
    tuned
        The fine-tune, settled.
    lost, unreadable
        Names of recipes that no tensor of the base was found for, and of those that could not be
        measured or fit no shape of the base.
    left_out
        Names of recipes that were not asked for.
    """
    found: dict[str, Fate] = {}
    lost, unreadable = frozenset(lost), frozenset(unreadable)
    for key, names in readers(tuned).items():
        if names and all(name in left_out for name in names):
            found[key] = "left out"
            continue
        broken = {n for n in names if n in unreadable or isinstance(tuned.recipes[n], Unreadable)}
        aside = key in tuned.spent and not tuned.spent[key]
        if aside or any(name not in broken and name not in lost for name in names):
            found[key] = "read"
        elif broken <= lost:  # also where there are none
            found[key] = "unmatched"
        else:
            found[key] = "unreadable"
    return found


def counts(tuned: Tuned, became: Mapping[str, Fate]) -> dict[str, dict[str, int]]:
    """Return how many tensors the files hold, and parameters, by what became of them."""
    total: dict[str, dict[str, int]] = {}
    some = ("left out",) if "left out" in became.values() else ()
    for fate in ("given", "read", "unreadable", "unmatched", *some):
        keys = [key for key in became if fate in ("given", became[key])]
        parameters = sum(numel(tuned.given[key].shape) for key in keys)
        total[fate] = {"tensors": len(keys), "parameters": parameters}
    return total


def unused(tensors: Mapping[str, LazyTensor], reading: Reading) -> tuple[str, ...]:
    """Return the parts of a module that its reading does not account for."""
    read = {id(tensor) for recipe in reading.recipes.values() for tensor in stored(recipe)}
    told = {*reading.spent, *reading.unmatched}
    return tuple(part for part, t in tensors.items() if id(t) not in read and part not in told)


def with_parts(reading: Reading, tensors: Mapping[str, LazyTensor]) -> Reading:
    """Return the reading of a module whose unreadable change has the parts that nothing else uses.

    They are then accounted for by the complaint.
    """
    parts = tuple(tensors[part] for part in unused(tensors, reading))
    recipes = {
        name: replace(recipe, parts=parts)
        if isinstance(recipe, Unreadable) and not recipe.parts
        else recipe
        for name, recipe in reading.recipes.items()
    }
    return replace(reading, recipes=recipes)


def by_key(given: Mapping[str, LazyTensor]) -> dict[int, str]:
    """Return the key of each tensor, by its identity."""
    return {id(tensor): key for key, tensor in given.items()}
