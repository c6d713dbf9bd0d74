"""Whether a model holds the adapter that lies beside it: whoever adds it then, adds it twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ftdiff.comparison.plan import Change, Plan, pair
from ftdiff.deltas.recipes import Replaced, Tuned
from ftdiff.errors import FtdiffError
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.numbers import number
from ftdiff.tensors import Array, matrix_shape, numel

#: The code of the note; its data are the files `read` and `unread`, and, where both were read, the
#: share of the adapter that is in the model, and the relative norms `once` and `twice`.
ADAPTER_BESIDE = "adapter-beside"
#: From this share of the adapter on, the model holds it.
HELD = 0.5
_RUN = 1 << 20


def measured(base: Checkpoint | None, tuned: Tuned, plan: Plan) -> Tuned:
    """Return a model with the note on the adapter beside it completed by what both hold.

    Parameters
    ----------
    base, tuned, plan
        Two sides, and how they were paired.
    """
    if base is None or tuned.beside is None:
        return tuned
    try:
        sums = _sums(base, tuned.beside, plan)
    except FtdiffError:  # the adapter does not fit, or cannot be read: it is named, and that is all
        return tuned
    whole, model, shared, adapter = sums
    if not whole or not adapter:
        return tuned
    share = float(shared / adapter)
    once = math.sqrt(model / whole)
    twice = math.sqrt(max(0.0, model + 2 * shared + adapter) / whole)
    numbers = (
        f"over the adapter's matrices {number(twice)} with it on top instead of {number(once)}"
    )
    text = f"the model holds it already: {numbers}"
    if share < HELD:
        text = f"the model does not hold it: {numbers}"
    notes = [
        Note(note.code, f"{note}; {text}", **note.data, share=share, once=once, twice=twice)
        if isinstance(note, Note) and note.code == ADAPTER_BESIDE
        else note
        for note in tuned.notes
    ]
    return replace(tuned, notes=tuple(notes))


def _sums(base: Checkpoint, adapter: Tuned, plan: Plan) -> Array:
    """Return ‖W‖², ‖ΔM‖², ⟨ΔM, ΔA⟩ and ‖ΔA‖² over what the adapter changes of both."""
    models = {change.address.name: change for change in plan.changes}
    total = np.zeros(4)
    for change in pair(base, adapter).changes:
        model = models.get(change.address.name)
        if model is not None and _alike(model, change):
            total += _of(model, change)
    return total


def _alike(model: Change, change: Change) -> bool:
    fits = change.base is not None and model.recipe.shape == change.recipe.shape
    return fits and len(change.recipe.shape) > 1 and isinstance(model.recipe, Replaced)


def _of(model: Change, change: Change) -> Array:
    assert change.base is not None
    size = numel(change.recipe.shape)
    columns = max(1, matrix_shape(change.recipe.shape)[1])
    step = max(1, _RUN // columns) * columns
    mine, theirs = model.recipe.entries(model.base), change.recipe.entries(change.base)
    total = np.zeros(4)
    for start in range(0, size, step):
        stop = min(start + step, size)
        moved, added = mine(start, stop), theirs(start, stop)
        with change.base.window(start, stop) as values:
            W = values.astype(np.float64)
        total += (W @ W, moved @ moved, moved @ added, added @ added)
    return total
