"""Tensors that two public spellings of one architecture store otherwise: turned, halves swapped.

Where the tensor is the same entry by entry, its name alone is translated, by `naming.matching`.
"""

from __future__ import annotations

from ftdiff.adapters.family import translated
from ftdiff.comparison.alignment.renamed import under
from ftdiff.deltas.recipes import Beside, Recipe, Tuned
from ftdiff.deltas.recipes.arranged import reordered, reshaped, turned
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming.dialect_tables import SAME, SWAPPED, SWAPPED_IF_LAST, TURNED
from ftdiff.naming.translation import translations
from ftdiff.tensors import matrix_shape


def respell(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Return the fine-tune with the base's names, and as the base stores it, tensor by tensor."""
    made: dict[str, Recipe] = {}
    names: dict[str, str] = {}
    dialects: dict[str, int] = {}
    for name, recipe in tuned.recipes.items():
        if name in base.tensors or isinstance(recipe, Beside):
            continue
        for one in translations(name):
            found = one.names[0]
            if found not in base.tensors or found in tuned.recipes:
                continue
            if (
                len(one.names) == 1 and one.part_of is None
            ):  # else it is joined, which is said there
                if one.dialect:  # else it is the same spelling under other words of the pipeline
                    dialects[one.dialect] = dialects.get(one.dialect, 0) + 1
                arranged = _arranged(recipe, one.rows, base, found)
                if arranged is not None:
                    made[found], names[name] = arranged, found
            break
    notes = tuple(translated(dialect, count) for dialect, count in dialects.items())
    if not made:
        return base, tuned, notes
    return base, under(tuned, names, made), notes


def _arranged(recipe: Recipe, rows: str, base: Checkpoint, name: str) -> Recipe | None:
    """Return a change as the base stores its tensor; None if it does already, or does not fit."""
    tensor = base.tensors[name]
    if isinstance(tensor, Broken) or not tensor.shape or not recipe.shape:
        return None
    if rows == TURNED:
        return turned(recipe) if tensor.shape[::-1] == recipe.shape else None
    if matrix_shape(tensor.shape) != matrix_shape(recipe.shape):
        return None
    if rows == SWAPPED or (rows == SWAPPED_IF_LAST and _has_two_halves(base, name)):
        half = tensor.shape[0] // 2
        return reshaped(reordered(recipe, [(half, half), (0, half)]), tensor.shape)
    if rows == SAME and tensor.shape == recipe.shape:
        return None
    return reshaped(recipe, tensor.shape)


def _has_two_halves(base: Checkpoint, name: str) -> bool:
    """Say whether a modulation is a scale and a shift alone, of each of its inputs."""
    weight = base.tensors.get(f"{name.rpartition('.')[0]}.weight")
    return weight is not None and len(weight.shape) == 2 and weight.shape[0] == 2 * weight.shape[1]
