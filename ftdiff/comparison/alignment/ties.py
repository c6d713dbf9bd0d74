"""Hold a head that one side stores, and the other ties to its embedding, against that embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ftdiff.comparison.reasons import TIED
from ftdiff.deltas.recipes import Beside, Recipe, Replaced, Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.formats.ties import tied
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import LazyTensor


def with_ties(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Give each side the names that it ties, where the other side has a tensor of that name."""
    base, tuned, of_base = _of_base(base, tuned)
    tuned, of_tuned = _of_tuned(base, tuned)
    return base, tuned, (*of_base, *of_tuned)


def _of_base(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, list[Note]]:
    names = tied(base.tensors, base.config)
    wanted = {
        name: recipe.shape
        for name, recipe in tuned.recipes.items()
        if name not in base.tensors and not isinstance(recipe, Beside)
    }
    offered = {name: base.tensors[stored].shape for name, stored in names.items()}
    pairs = _paired(offered, wanted)
    own = (
        {*pair_names(_shapes(base, pairs, names), _stored(tuned, pairs)).values()} if pairs else ()
    )
    more: dict[str, LazyTensor] = {}
    renamed: dict[str, str] = {}
    notes = []
    for theirs, name in pairs.items():
        stored = names[name]
        notes.append(_note("base", theirs, stored))
        if tuned.kind == "full" and stored not in own and stored not in renamed.values():
            renamed[theirs] = stored  # one tensor on either side, under different names of it
        else:
            more[theirs] = base.tensors[stored]
    if more:
        base = replace(base, tensors={**base.tensors, **more})
    return base, tuned.respelled(renamed), notes


def _shapes(
    base: Checkpoint, pairs: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    held = {names[name] for name in pairs.values()}
    return {name: base.tensors[name].shape for name in held}


def _stored(tuned: Tuned, pairs: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in tuned.recipes.items() if name not in pairs}


def _of_tuned(base: Checkpoint, tuned: Tuned) -> tuple[Tuned, list[Note]]:
    """Do the same for a whole checkpoint; what an adapter does not name is the base's."""
    if tuned.kind != "full":
        return tuned, []
    names = tied(tuned.recipes, tuned.config or base.config)
    # what both sides tie is one tensor on either side
    wanted = {
        name: tensor.shape for name, tensor in base.tensors.items() if name not in tuned.recipes
    }
    offered = {name: tuned.recipes[stored].shape for name, stored in names.items()}
    more: dict[str, Recipe] = {}
    notes = []
    for theirs, name in _paired(offered, wanted).items():
        recipe = tuned.recipes[names[name]]
        if isinstance(recipe, Replaced):
            more[theirs] = recipe
            notes.append(_note("tuned", theirs, names[name]))
    return (replace(tuned, recipes={**tuned.recipes, **more}) if more else tuned), notes


def _paired(
    offered: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Pair names that are wanted with those of one side's ties, of a matrix of the same width."""
    pairs = pair_names(offered, wanted) if offered else {}
    return {name: found for name, found in pairs.items() if wanted[name][1:] == offered[found][1:]}


def _note(side: str, name: str, stored: str) -> Note:
    who = {"base": "the base", "tuned": "the fine-tune"}[side]
    text = f"{who} stores no {name}: it is tied to {stored}, and was compared as that"
    return Note(TIED, text, side=side, name=name, stored=stored)
