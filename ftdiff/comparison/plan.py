"""Pair base and tuned by name; nothing is read, and what cannot be paired is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ftdiff.comparison.alignment import aligned
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
    """

    changes: tuple[Change, ...]
    untouched: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @property
    def coverage(self) -> float:
        """The share of both sides' parameters that is compared, or known to be untouched."""
        sizes = {name: numel(facts["shape"]) for name, facts in self.tensors.items()}
        apart = {*self.added, *self.removed}
        compared = {
            change.address.name: numel(change.recipe.shape)
            for change in self.changes
            if change.address.name not in apart
        }
        covered = sum(compared.values()) + sum(sizes[name] for name in self.untouched)
        lost = sum(sizes[name] for name in apart)
        partial = sum(sizes[name] - compared.get(name, 0) for name in self.reshaped)
        whole = covered + lost + partial
        return covered / whole if whole else 0.0


def pair(base: Checkpoint | None, tuned: Tuned) -> Plan:
    """Match every recipe with the base tensor that it changes.

    Raises
    ------
    Mismatch
        There is nothing to compare at all.
    """
    if not tuned.recipes and (base is not None or not tuned.unmatched):
        raise Mismatch(_nothing_at_all(tuned))
    if base is None:
        return _alone(tuned)
    if tuned.layout:
        base = base.arranged(tuned.layout)
    base, tuned, notes = aligned(base, tuned)
    shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
    wanted = {
        name: recipe.shape
        for name, recipe in tuned.recipes.items()
        if not isinstance(recipe, Beside)  # whatever it is called, it is no base tensor's
    }
    pairs = pair_names(shapes, wanted)
    added = tuple(name for name in tuned.recipes if name not in pairs)
    addresses = locate([*base.tensors, *added])
    changes: list[Change] = []
    reshaped: list[str] = []
    tensors: dict[str, dict[str, Any]] = {
        name: _facts(addresses[name], tensor, None) for name, tensor in base.tensors.items()
    }
    for name, recipe in tuned.recipes.items():
        found = pairs.get(name)
        if found is None:
            tensors[name] = _facts(addresses[name], None, recipe)
            if isinstance(recipe, Beside):
                changes.append(Change(addresses[name], None, recipe))
            continue
        tensor = base.tensors[found]
        recipe = _readable(recipe, tensor)
        fitted = recipe.fitted(tensor.shape)
        tensors[found] = _facts(addresses[found], tensor, recipe)
        if fitted is recipe:
            tensors[found]["shape"] = tensor.shape
            changes.append(Change(addresses[found], tensor, recipe))
            continue
        reshaped.append(found)
        if fitted is not None:
            shared = FirstRows(tensor, fitted.shape[0])
            changes.append(Change(addresses[found], shared, fitted))
    paired = set(pairs.values())
    rest = tuple(name for name in base.tensors if name not in paired)
    if not changes:
        raise Mismatch(_nothing_in_common(base, tuned))
    return Plan(
        changes=tuple(changes),
        untouched=rest if tuned.kind != "full" else (),
        added=added,
        removed=rest if tuned.kind == "full" else (),
        reshaped=tuple(reshaped),
        renamed={name: found for name, found in pairs.items() if name != found},
        tensors=tensors,
        notes=notes,
    )


def _alone(tuned: Tuned) -> Plan:
    addresses = locate(list(tuned.recipes))
    return Plan(
        changes=tuple(Change(addresses[n], None, recipe) for n, recipe in tuned.recipes.items()),
        tensors={n: _facts(addresses[n], None, recipe) for n, recipe in tuned.recipes.items()},
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


def _nothing_at_all(tuned: Tuned) -> str:
    if not tuned.unmatched:
        return f"{tuned.source}: empty: it holds no tensor that could be compared"
    first, why = next(iter(tuned.unmatched.items()))
    return f"{tuned.source}: nothing of it is read: {first}: {why}"


def _nothing_in_common(base: Checkpoint, tuned: Tuned) -> str:
    here, there = next(iter(base.tensors), "nothing"), next(iter(tuned.recipes))
    return (
        f"{tuned.source}: none of its {len(tuned.recipes)} tensors fits one of {base.source}: "
        f"{there!r} against {here!r}; is this the right base?"
    )
