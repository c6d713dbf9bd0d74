"""The matrices that are looked at: those that moved, as they are stored on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.frame import among, floats, there
from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.reasons import FEW_BITS, with_code
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import CHANGED
from ftdiff.deltas.recipes import Replaced
from ftdiff.deltas.recipes.held import is_far
from ftdiff.metrics.records.stored_rows import is_stored
from ftdiff.naming import Address
from ftdiff.tensors import matrices as counted


@dataclass(frozen=True)
class Matrix:
    """One matrix of a change; of a tensor that holds several, the one in the middle.

    Attributes
    ----------
    change
        The tensor's.
    shape, index
        Rows × columns, and which of the tensor's matrices it is.
    changed
        The share of the tensor's entries that moved.
    """

    change: Change
    shape: tuple[int, int]
    index: int
    changed: float

    @property
    def address(self) -> Address:
        """Which tensor it is of."""
        return self.change.address


def moved_matrices(diff: Diff, plan: Plan) -> list[Matrix]:
    """Return the matrices of a whole checkpoint that moved, by component and then by depth.

    None of one that lies on another machine, since its rows would be fetched twice. What is only
    rounding to few bits, and what is the base's under a second name, is left out.
    """
    if plan.base is None or plan.tuned is None or plan.tuned.kind != "full":
        return []
    if any(is_far((change.base, change.recipe)) for change in plan.changes):
        return []
    columns = diff.columns
    moved = among(columns["status"], (CHANGED,)) & there(columns["delta_sq"])
    if "reason" in columns:
        moved &= ~with_code(columns, FEW_BITS)
    moved &= columns["param"] == "weight"
    share = floats(columns["unequal"]) / np.maximum(floats(columns["numel"]), 1)
    shares = dict(zip(columns["tensor"][moved], share[moved], strict=True))
    found = []
    for change in plan.changes:
        name = change.address.name
        if name not in shares or name in plan.twice or not is_stored(change.recipe, change.base):
            continue
        count, rows, width = counted(name, change.recipe.shape)
        found.append(Matrix(change, (rows, width), count // 2, float(shares[name])))
    return sorted(found, key=_place)


def spread(matrices: Sequence[Matrix], most: int) -> list[Matrix]:
    """Return so many at most, over all components and depths."""
    count = len(matrices)
    if count <= most:
        return [*matrices]
    return [matrices[(2 * i + 1) * count // (2 * most)] for i in range(most)]


def tuned_of(matrix: Matrix) -> Replaced:
    """Return its recipe, which `moved_matrices` has checked."""
    assert isinstance(matrix.change.recipe, Replaced)
    return matrix.change.recipe


def _place(matrix: Matrix) -> tuple[str, str, int, str]:
    at = matrix.address
    return at.stack, at.component, -1 if at.layer is None else at.layer, at.name
