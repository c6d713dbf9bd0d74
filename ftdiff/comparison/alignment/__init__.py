"""Bring two sides together where names alone do not: each step in a file of its own.

To add a step: `<step>.py` here with a function that takes both sides and returns them as they are
to be paired, with a note on what it did, and its line in `STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from ftdiff.comparison.alignment.base_parts import join_base
from ftdiff.comparison.alignment.buffers import without_buffers
from ftdiff.comparison.alignment.dialects import respell
from ftdiff.comparison.alignment.experts import with_experts
from ftdiff.comparison.alignment.joins import join
from ftdiff.comparison.alignment.layers import with_layers
from ftdiff.comparison.alignment.llama_cpp import with_llama_cpp
from ftdiff.comparison.alignment.ties import with_ties
from ftdiff.comparison.alignment.transformers_names import with_transformers_names
from ftdiff.comparison.alignment.tuned_parts import join_tuned
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.tensors import LazyTensor
from ftdiff.tensors.arranged import Hollow

#: Returns both sides, and what it did; the same sides and nothing where it has nothing to do.
Step: TypeAlias = Callable[[Checkpoint, Tuned], tuple[Checkpoint, Tuned, tuple[Note, ...]]]

#: Taken in this order.
STEPS: tuple[Step, ...] = (
    *(without_buffers, with_llama_cpp, with_experts, respell, join, with_ties),
    *(with_transformers_names, with_layers),
)


def aligned(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Return both sides as they are to be paired by name, and notes on what was done to them."""
    notes: list[Note] = []
    for step in STEPS:
        base, tuned, more = step(base, tuned)
        notes += more
    return base, tuned, tuple(notes)


def together(base: Checkpoint, fine: Sequence[Tuned]) -> tuple[Checkpoint, list[Tuned]]:
    """Return a base and several fine-tunes, all with one tensor wherever one of them has one.

    What was done is among the notes of each.
    """
    if any(one.layout for one in fine):  # the layers are not the base's
        return base, [*fine]
    without = [without_buffers(base, one) for one in fine]
    base = without[0][0] if without else base
    fine = [replace(one, notes=(*one.notes, *told)) for _, one, told in without]
    for _ in range(2):  # where one has a stack of the base's apart, the others' stacks follow
        for i, one in enumerate(fine):
            base, apart, told = with_experts(base, one)
            fine[i] = replace(apart, notes=(*apart.notes, *told))
    spelled = [respell(base, one) for one in fine]
    base, named, notes = join_base(base, [one for _, one, _ in spelled])
    found = []
    for (_, _, first), one, second in zip(spelled, named, notes, strict=True):
        joined, third = join_tuned(base, one)
        found.append(replace(joined, notes=(*joined.notes, *first, *second, *third)))
    return base, found


def alone(fine: Sequence[Tuned]) -> list[Tuned]:
    """Return adapters without a base, with one change wherever one of them has one."""
    found = [*fine]
    names = [_changed(one) for one in found]
    for i, one in enumerate(found):
        met = {names[i]}  # of those that change the same tensors one tells as much as all
        for j, other in enumerate(found):
            if names[j] in met:
                continue
            met.add(names[j])
            shapes: dict[str, LazyTensor] = {n: Hollow(r.shape) for n, r in other.recipes.items()}
            like = Checkpoint(shapes, other.source, "hollow")
            one = join_tuned(like, respell(like, one)[1])[0]
        found[i], names[i] = one, _changed(one)
    return found


def _changed(one: Tuned) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, recipe.shape) for name, recipe in one.recipes.items())
