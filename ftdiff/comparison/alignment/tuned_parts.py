"""Changes of parts that the base stores as one tensor become one change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ftdiff.comparison.alignment.fusion_notes import notes_on
from ftdiff.comparison.alignment.fusions import Fusion, fusions, strangers
from ftdiff.comparison.alignment.renamed import under
from ftdiff.comparison.alignment.row_order import completed, order
from ftdiff.deltas.recipes import Recipe, Tuned
from ftdiff.deltas.recipes.arranged import reordered, turned
from ftdiff.deltas.recipes.joined import Part, joined
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming.fused import leaf
from ftdiff.tensors import LazyTensor, matrix_shape


def join_tuned(base: Checkpoint, tuned: Tuned) -> tuple[Tuned, tuple[Note, ...]]:
    """Make one change of those of parts that the base stores as one tensor."""
    mine = strangers(base, tuned)
    if not mine:
        return tuned, ()
    free = [name for name in base.tensors if name not in tuned.recipes]
    shapes = {name: recipe.shape for name, recipe in mine.items()}
    made: dict[str, Recipe] = {}
    done: list[Fusion] = []
    lost: list[Fusion] = []
    still: dict[str, None] = {}
    for fusion in fusions(free, shapes, base.config, whole=tuned.kind in ("full", "delta")):
        tensor = base.tensors[fusion.name]
        given = [None if part is None else mine[part] for part in fusion.parts]
        fitted = _heights(tensor, given)
        if fitted is None:
            continue
        heights, shape = fitted
        runs = order(fusion.layout, heights, base.config)
        if runs is None:
            lost.append(fusion)
            continue
        parts = [Part(recipe, rows) for recipe, rows in zip(given, heights, strict=True)]
        tops = [0, *accumulate(heights)]
        recipe = joined(parts, shape)
        if len(runs) > len(heights):
            recipe = reordered(recipe, [(tops[run.part] + run.first, run.rows) for run in runs])
        if shape != tensor.shape:
            recipe = turned(recipe)
        made[fusion.name] = recipe
        done.append(fusion)
        for called, part, first, last in zip(
            fusion.called, fusion.parts, tops, tops[1:], strict=False
        ):
            if part is None:
                still[f"{first}–{last - 1} of {leaf(fusion.name)} ({leaf(called)})"] = None
    notes = notes_on(done, lost, ("the base", "the fine-tune"), list(still))
    names = {part: fusion.name for fusion in done for part in fusion.there}
    return under(tuned, names, made) if made else tuned, notes


def _heights(
    tensor: LazyTensor, given: Sequence[Recipe | None]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the rows of each part of a tensor, and its shape as they are spelled.

    None where they do not fit. The shape is the tensor's, or its reverse where it is stored turned.
    """
    shapes = [recipe.shape for recipe in given if recipe is not None]
    if isinstance(tensor, Broken) or not tensor.shape or not all(shapes):
        return None
    if len({matrix_shape(shape)[1] for shape in shapes}) > 1:
        return None
    columns = matrix_shape(shapes[0])[1]
    known = [None if recipe is None else recipe.shape[0] for recipe in given]
    for shape in (tensor.shape, *([tensor.shape[::-1]] if len(tensor.shape) == 2 else [])):
        if matrix_shape(shape)[1] == columns:
            found = completed(shape[0], known)
            if found is not None:
                return found, shape
    return None
