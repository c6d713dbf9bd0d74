"""Pair base and tuned by name; hardly anything is read, and what cannot be paired is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftdiff.adapters.loading import places
from ftdiff.comparison.alignment import aligned, vocabulary
from ftdiff.comparison.alignment.relatives import are_strangers
from ftdiff.comparison.coverage import Coverage, of_files
from ftdiff.comparison.misfit import nothing_at_all, nothing_in_common
from ftdiff.comparison.pairing_notes import names_matched, rows_reordered, without_a_base
from ftdiff.deltas.recipes import Beside, Recipe, Replaced, Tuned, Unreadable
from ftdiff.errors import Mismatch
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming import Address, locate
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import LazyTensor, Rows, nbytes, numel, stored_as


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
        Tensors whose shapes differ, or whose rows stand in another order; those with common rows
        are also among the changes.
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
    base, tuned
        Both sides as they were paired, under the base's names.
    twice
        Tensors whose base stands under another name too: a tied head, a layer that was copied.
    kinship
        What a sample says of a whole checkpoint, as `about` of a diff holds it.
    left_out
        Tensors that are not looked at, as a selection does not want them.
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
    base: Checkpoint | None = None
    tuned: Tuned | None = None
    twice: frozenset[str] = frozenset()
    kinship: Mapping[str, Any] | None = None
    left_out: frozenset[str] = frozenset()

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
    if not tuned.recipes and (base is not None or not tuned.unmatched):
        raise Mismatch(nothing_at_all(tuned))
    if base is None:
        return _alone(tuned)
    if tuned.layout:
        base = base.arranged(tuned.layout)
    stored = base.tensors
    base, tuned, notes = aligned(base, tuned)
    notes = (*notes, *places.notes(tuned, base))
    plan = _paired(base, tuned, notes, _twice(stored, base.tensors))
    if not plan.changes and not any("home" in one.data for one in notes):
        raise Mismatch(nothing_in_common(base, tuned))
    return plan


def _paired(base: Checkpoint, tuned: Tuned, notes: tuple[Note, ...], twice: frozenset[str]) -> Plan:
    """Pair both sides, as the steps have brought them together, by their names."""
    pairs = _pairs(base, tuned)
    added = tuple(name for name in tuned.recipes if name not in pairs)
    addresses = locate(n for n in (*base.tensors, *added) if n not in tuned.places)
    addresses |= tuned.places
    changes: list[Change] = []
    reshaped: list[str] = []
    rest = {*base.tensors} - {*pairs.values()}
    tensors: dict[str, dict[str, Any]] = {
        name: _facts(addresses[name], tensor, None) if name in rest else {}
        for name, tensor in base.tensors.items()
    }
    compared: dict[str, tuple[str, float]] = {}
    strangers = are_strangers(
        (addresses[b], base.tensors[b], tuned.recipes[t]) for t, b in pairs.items()
    )
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
        change, tensors[found] = _change(addresses[found], tensor, recipe, strangers)
        if change is None or change.base is not tensor or change.recipe is not recipe:
            reshaped.append(found)
        if change is not None:
            changes.append(change)
            if not isinstance(change.recipe, Unreadable):
                compared[found] = found, _part(change.recipe, recipe)
    left = tuple(name for name in base.tensors if name in rest)
    untouched = left if tuned.kind != "full" else ()
    spelled = {tuned.spelled.get(name, name): found for name, found in pairs.items()}
    return Plan(
        changes=tuple(changes),
        untouched=untouched,
        added=added,
        removed=left if tuned.kind == "full" else (),
        reshaped=tuple(reshaped),
        renamed={name: found for name, found in spelled.items() if name != found},
        tensors=tensors,
        notes=(*notes, *names_matched(pairs), *rows_reordered(_moved(changes))),
        unmatched={**tuned.unmatched, **_lost(tuned, added)},
        sides=Coverage(
            _of_base(base, changes, {*untouched}, twice),
            of_files(tuned.respelled(pairs), compared),
        ),
        base=base,
        tuned=tuned.respelled(pairs),
        twice=twice,
    )


def _pairs(base: Checkpoint, tuned: Tuned) -> dict[str, str]:
    """Return the base's name by the fine-tune's, for recipes that change a base tensor."""
    shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
    wanted = {
        name: recipe.shape
        for name, recipe in tuned.recipes.items()
        # whatever these are called, they are no base tensor's
        if not isinstance(recipe, Beside) and (name in shapes or name not in tuned.places)
    }
    return pair_names(shapes, wanted)


def _moved(changes: Sequence[Change]) -> list[str]:
    return [c.address.name for c in changes if vocabulary.is_reordered(c.base, c.recipe)]


def _change(
    address: Address, base: LazyTensor, recipe: Recipe, strangers: Callable[[], bool]
) -> tuple[Change | None, dict[str, Any]]:
    """Return what of a change fits its base, if anything does, and what headers tell of it."""
    facts = _facts(address, base, recipe)
    if (matched := vocabulary.reordered(address, base, recipe, strangers)) is not None:
        return Change(address, *matched), facts
    fitted = recipe.fitted(base.shape)
    if fitted is None and address.block in vocabulary.BLOCKS:
        fitted = vocabulary.first_rows(recipe, base.shape)
    if fitted is recipe:
        return Change(address, base, recipe), {**facts, "shape": base.shape}
    if fitted is None:
        return None, facts
    return Change(address, Rows(base, 0, fitted.shape[0]), fitted), facts


def _part(fitted: Recipe, recipe: Recipe) -> float:
    whole = numel(recipe.shape)
    return numel(fitted.shape) / whole if whole else 1.0


def _of_base(
    base: Checkpoint, changes: Sequence[Change], untouched: set[str], twice: frozenset[str]
) -> dict[str, tuple[int, int]]:
    """Return how much of each base tensor is compared or known, and of how much."""
    known = {
        change.address.name: numel(change.base.shape)
        for change in changes
        if change.base is not None and not isinstance(change.recipe, Unreadable)
    }
    sizes = {name: numel(t.shape) for name, t in base.tensors.items() if name not in twice}
    known |= {name: size for name, size in sizes.items() if name in untouched}
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


def _twice(stored: Mapping[str, LazyTensor], paired: Mapping[str, LazyTensor]) -> frozenset[str]:
    """Return the names that pairing gave to tensors of the base which have one of their own."""
    own = {paired[name] for name in stored if name in paired}
    more = [name for name in paired if name not in stored]
    return frozenset(name for name in more if paired[name] in own)


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
        notes=without_a_base(tuned),
        tuned=tuned,
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
