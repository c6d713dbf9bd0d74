"""Pair base and tuned by name; nothing is read, and what cannot be paired is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftdiff.comparison.alignment import aligned
from ftdiff.comparison.coverage import Coverage, of_files
from ftdiff.deltas.recipes import Beside, Recipe, Replaced, Tuned, Unreadable
from ftdiff.errors import Mismatch
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming import Address, locate
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import FirstRows, LazyTensor, nbytes, numel, stored_as


@dataclass(frozen=True)
class Change:
    """All that a worker needs to measure one tensor; weights never travel."""

    address: Address
    base: LazyTensor | None
    recipe: Recipe

    @property
    def size(self) -> int:
        """The bytes of its base; without one, the number of its entries."""
        return numel(self.recipe.shape) if self.base is None else nbytes(self.base)


@dataclass(frozen=True)
class Plan:
    """Who is paired with whom; every tensor of both sides is in exactly one place.

    Attributes
    ----------
    changes
        What is measured, the common rows of `reshaped` ones included, and those of the added ones
        that work beside the base.
    untouched
        Base tensors that the adapter does not name: unchanged by construction.
    added, removed
        Tensors of one side only.
    reshaped
        Tensors whose shapes differ; those with common rows are also among the changes.
    renamed
        Base name by tuned name, where the spelling differs.
    tensors
        What headers tell of every tensor, by name: the frame's columns up to the sums.
    notes
        How the two sides were brought together where names alone did not, in sentences.
    unmatched
        Keys of the files that led to no change, and the changes that no tensor of the base was
        found for, each with the reason.
    sides
        What is compared of either side.
    """

    changes: tuple[Change, ...]
    untouched: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    unmatched: Mapping[str, str] = field(default_factory=dict)
    sides: Coverage = field(default_factory=Coverage)

    @property
    def coverage(self) -> float:
        """The smaller share of the two sides' parameters that is compared."""
        return min(self.sides.shares().values())


def pair(base: Checkpoint | None, tuned: Tuned) -> Plan:
    """Match every recipe with the base tensor that it changes.

    Raises
    ------
    Mismatch
        There is nothing to compare at all.
    """
    if not tuned.recipes:
        raise Mismatch(f"{tuned.source}: empty: it holds no tensor that could be compared")
    if base is None:
        return _alone(tuned)
    if tuned.layout:
        base = base.arranged(tuned.layout)
    base, tuned, notes = aligned(base, tuned)
    pairs = _pairs(base, tuned)
    added = tuple(name for name in tuned.recipes if name not in pairs)
    addresses = locate([*base.tensors, *added])
    changes: list[Change] = []
    reshaped: list[str] = []
    tensors: dict[str, dict[str, Any]] = {
        name: _facts(addresses[name], tensor, None) for name, tensor in base.tensors.items()
    }
    compared: dict[str, tuple[str, float]] = {}
    for name, recipe in tuned.recipes.items():
        found = pairs.get(name)
        if found is None:
            tensors[name] = _facts(addresses[name], None, recipe)
            if isinstance(recipe, Beside):
                changes.append(Change(addresses[name], None, recipe))
            if _stands_alone(tuned, name):
                compared[name] = name, 1.0
            continue
        tensor = base.tensors[found]
        recipe = _readable(recipe, tensor)
        tensors[found] = _facts(addresses[found], tensor, recipe)
        change = _change(addresses[found], tensor, recipe)
        if change is not None:
            changes.append(change)
            if not isinstance(change.recipe, Unreadable):
                compared[name] = found, _part(change.recipe, recipe)
        if change is not None and change.recipe is recipe:
            tensors[found]["shape"] = tensor.shape
        else:
            reshaped.append(found)
    paired = set(pairs.values())
    rest = tuple(name for name in base.tensors if name not in paired)
    if not changes:
        raise Mismatch(_nothing_in_common(base, tuned))
    untouched = rest if tuned.kind != "full" else ()
    return Plan(
        changes=tuple(changes),
        untouched=untouched,
        added=added,
        removed=rest if tuned.kind == "full" else (),
        reshaped=tuple(reshaped),
        renamed={name: found for name, found in pairs.items() if name != found},
        tensors=tensors,
        notes=notes,
        unmatched={**tuned.unmatched, **_lost(tuned, added)},
        sides=Coverage(_of_base(base, changes, untouched), of_files(tuned, compared)),
    )


def _pairs(base: Checkpoint, tuned: Tuned) -> dict[str, str]:
    """Return the base's name by the fine-tune's, for recipes that change a base tensor."""
    shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
    wanted = {
        name: recipe.shape
        for name, recipe in tuned.recipes.items()
        if not isinstance(recipe, Beside)  # whatever it is called, it is no base tensor's
    }
    return pair_names(shapes, wanted)


def _change(address: Address, tensor: LazyTensor, recipe: Recipe) -> Change | None:
    """Return what of a change fits the base: all, the rows that both have, or nothing."""
    fitted = recipe.fitted(tensor.shape)
    if fitted is None:
        return None
    return Change(
        address, tensor if fitted is recipe else FirstRows(tensor, fitted.shape[0]), fitted
    )


def _part(fitted: Recipe, recipe: Recipe) -> float:
    whole = numel(recipe.shape)
    return numel(fitted.shape) / whole if whole else 1.0


def _of_base(
    base: Checkpoint, changes: Sequence[Change], untouched: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Return how much of each base tensor is compared or known, and of how much."""
    known = {
        change.address.name: numel(change.base.shape)
        for change in changes
        if change.base is not None and not isinstance(change.recipe, Unreadable)
    }
    sizes = {name: numel(tensor.shape) for name, tensor in base.tensors.items()}
    known |= {name: sizes[name] for name in untouched}
    return {name: (known.get(name, 0), size) for name, size in sizes.items()}


def _stands_alone(tuned: Tuned, name: str) -> bool:
    """Say whether a recipe needs no tensor of the base: an adapter's own module, saved whole."""
    own = isinstance(tuned.recipes[name], Beside | Replaced) and name not in tuned.lost
    return own and tuned.kind != "full"


def _lost(tuned: Tuned, added: Sequence[str]) -> dict[str, str]:
    """Return the changes of an adapter for which the base has no tensor; a saved module is none."""
    found = {}
    for name in added if tuned.kind != "full" else ():
        recipe = tuned.recipes[name]
        if name in tuned.lost:
            found[name] = tuned.lost[name]
        elif isinstance(recipe, Unreadable):
            found[name] = recipe.reason
        elif not _stands_alone(tuned, name):
            found[name] = "no tensor of the base has this name"
    return found


def _alone(tuned: Tuned) -> Plan:
    addresses = locate(list(tuned.recipes))
    compared = {
        name: (name, 1.0)
        for name, recipe in tuned.recipes.items()
        if numel(recipe.shape) and not isinstance(recipe, Unreadable)
    }
    return Plan(
        changes=tuple(Change(addresses[n], None, recipe) for n, recipe in tuned.recipes.items()),
        tensors={n: _facts(addresses[n], None, recipe) for n, recipe in tuned.recipes.items()},
        unmatched=tuned.unmatched,
        sides=Coverage(None, of_files(tuned, compared)),
    )


def _facts(address: Address, base: LazyTensor | None, recipe: Recipe | None) -> dict[str, Any]:
    shape = recipe.shape if recipe is not None else base.shape if base is not None else ()
    dtypes = {
        "base_dtype": stored_as(base) if base is not None else None,
        "tuned_dtype": _tuned_dtype(recipe) if recipe is not None else None,
    }
    form = recipe.form if recipe is not None else None
    return {**address.columns(), "form": form, "shape": shape, **dtypes}


def _readable(recipe: Recipe, base: LazyTensor) -> Recipe:
    """Return the recipe, or the complaint where a side's shape is not even known."""
    tuned = recipe.tensor if isinstance(recipe, Replaced) else None
    for side in (base, tuned):
        if isinstance(side, Broken):
            return Unreadable(base.shape, side.reason, recipe.dtype)
    return recipe


def _tuned_dtype(recipe: Recipe) -> str | None:
    return stored_as(recipe.tensor) if isinstance(recipe, Replaced) else recipe.dtype or None


def _nothing_in_common(base: Checkpoint, tuned: Tuned) -> str:
    here, there = next(iter(base.tensors), "nothing"), next(iter(tuned.recipes))
    return (
        f"{tuned.source}: none of its {len(tuned.recipes)} tensors fits one of {base.source}: "
        f"{there!r} against {here!r}; is this the right base?"
    )
