"""From what was measured to the frame's rows: a status for every tensor, and what is odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftdiff.comparison import few_bits, reasons
from ftdiff.comparison.alignment.vocabulary import is_reordered
from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.reasons import noted
from ftdiff.comparison.statuses import (
    ADDED,
    CHANGED,
    IDENTICAL,
    REMOVED,
    RESHAPED,
    UNREADABLE,
    UNTOUCHED,
)
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Replaced, is_saved
from ftdiff.errors import one_line
from ftdiff.formats.note import Note
from ftdiff.formats.quantised.grids import Grid
from ftdiff.tensors import is_quantised, numel, stored_as


def rows(
    plan: Plan,
    found: Sequence[Moments | str],
    grids: Mapping[str, Grid],
) -> list[dict[str, Any]]:
    """Return a row for every tensor of either side.

    Parameters
    ----------
    plan
        What was paired.
    found
        For each of its changes: moments, or the complaint where it could not be read.
    grids
        By tensor, the few bits that the base's values are rounded to.
    """
    measured = {
        change.address.name: (change, outcome)
        for change, outcome in zip(plan.changes, found, strict=True)
    }
    elsewhere = dict.fromkeys(plan.untouched, UNTOUCHED)
    elsewhere |= dict.fromkeys(plan.added, ADDED)
    elsewhere |= dict.fromkeys(plan.removed, REMOVED)
    elsewhere |= dict.fromkeys(plan.reshaped, RESHAPED)
    made = []
    for name, facts in plan.tensors.items():
        status = elsewhere.get(name)
        row = {**facts, "numel": numel(facts["shape"]), "status": status}
        if name in measured:
            row |= row_of(*measured[name], status or CHANGED, grids.get(name))
        elif status == RESHAPED:
            told = "another shape than the base's: nothing of it could be compared"
            row |= noted([Note(reasons.OTHER_SHAPE, told)])
        elif name in plan.unmatched:
            row |= noted([Note(reasons.UNMATCHED, plan.unmatched[name])])
        made.append(row)
    return made + [
        {"tensor": key, "status": ADDED, **noted([Note(reasons.UNMATCHED, why)])}
        for key, why in plan.unmatched.items()
        if key not in plan.tensors and key not in plan.left_out
    ]


def row_of(
    change: Change, outcome: Moments | str, status: str = CHANGED, grid: Grid | None = None
) -> dict[str, Any]:
    """Return the columns that measuring fills: status, sums, note and reason."""
    if isinstance(outcome, str):
        why = Note(reasons.UNREADABLE, one_line(outcome, 2000))
        return {"status": UNREADABLE, **noted([why])}
    sums = outcome.row()
    if change.base is None and sums["delta_sq"] is None:
        status = ADDED
    elif status == CHANGED and not _moved(change, sums):
        status = IDENTICAL
    return {
        "status": status,
        "numel": outcome.numel,
        **noted([*_notes(change, status, sums), *([few_bits.note(grid)] if grid else [])]),
        **sums,
    }


def _moved(change: Change, sums: Mapping[str, Any]) -> bool:
    if change.base is None:
        return bool(sums["delta_sq"] or sums["nonfinite_tuned"])
    return bool(sums["unequal"] or sums["delta_sq"])


def _notes(change: Change, status: str, sums: Mapping[str, Any]) -> list[Note]:
    notes = []
    if status == IDENTICAL and not change.recipe.dtype:
        notes.append(Note(reasons.DEAD, "dead: the adapter names it, and ΔW is exactly zero"))
    if is_reordered(change.base, change.recipe):
        many = f"{change.recipe.shape[0]:,} rows"
        told = f"the base's rows in another order: {many} were compared with those they come from"
        notes.append(Note(reasons.REORDERED, told))
    elif status == RESHAPED:
        common = f"{change.recipe.shape[0]} common rows were compared"
        notes.append(Note(reasons.COMMON_ROWS, f"another shape than the base's: {common}"))
    if status == ADDED and is_saved(change.recipe):
        notes.append(Note(reasons.SAVED, "saved whole: without a base its change is unknown"))
    broken = {side: sums[f"nonfinite_{side}"] for side in ("base", "tuned")}
    if any(broken.values()):
        counts = " and ".join(f"{count} in {side}" for side, count in broken.items() if count)
        notes.append(
            Note(reasons.NONFINITE, f"NaN or Inf: {counts}; it has no sums, and no group counts it")
        )
    tuned = change.recipe.tensor if isinstance(change.recipe, Replaced) else None
    if tuned is not None and change.base is not None and status != IDENTICAL:
        coarse = {stored_as(side) for side in (change.base, tuned) if is_quantised(side)}
        if coarse:
            names = " and ".join(sorted(coarse))
            told = f"stored as {names}: its own rounding may be all of the change"
            notes.append(Note(reasons.COARSE, told))
    if status == CHANGED and sums["base_sq"] == 0:
        told = "the base is all zero: there is no relative change"
        notes.append(Note(reasons.ZERO_BASE, told))
    return notes
