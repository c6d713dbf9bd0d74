"""From what was measured to the frame's rows: a status for every tensor, and what is odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftdiff.comparison.plan import Change, Plan
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import one_line
from ftdiff.tensors import is_quantised, numel, stored_as

#: Said of a change of which a side is stored quantised.
COARSE = "its own rounding is in the change"


def rows(
    plan: Plan, found: Sequence[Moments | str], unmatched: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a row for every tensor of either side.

    Parameters
    ----------
    plan
        What was paired.
    found
        For each of its changes: moments, or the complaint where it could not be read.
    unmatched
        Keys of the fine-tune's files that led to no change, each with the reason.
    """
    measured = {
        change.address.name: (change, outcome)
        for change, outcome in zip(plan.changes, found, strict=True)
    }
    elsewhere = dict.fromkeys(plan.untouched, "untouched")
    elsewhere |= dict.fromkeys(plan.added, "added")
    elsewhere |= dict.fromkeys(plan.removed, "removed")
    elsewhere |= dict.fromkeys(plan.reshaped, "reshaped")
    made = []
    for name, facts in plan.tensors.items():
        status = elsewhere.get(name)
        row = {**facts, "numel": numel(facts["shape"]), "status": status}
        if name in measured:
            row |= row_of(*measured[name], status or "changed")
        elif status == "reshaped":
            row["note"] = "another shape than the base's: nothing of it could be compared"
        made.append(row)
    return made + [
        {"tensor": key, "status": "added", "note": why} for key, why in unmatched.items()
    ]


def row_of(change: Change, outcome: Moments | str, status: str = "changed") -> dict[str, Any]:
    """Return the columns that measuring fills: status, sums, note."""
    if isinstance(outcome, str):
        return {"status": "unreadable", "note": one_line(outcome, 2000)}
    sums = outcome.row()
    if change.base is None and sums["delta_sq"] is None:
        status = "added"
    elif status == "changed" and not _moved(change, sums):
        status = "identical"
    return {
        "status": status,
        "numel": outcome.numel,
        "note": "; ".join(_notes(change, status, sums)) or None,
        **sums,
    }


def _moved(change: Change, sums: Mapping[str, Any]) -> bool:
    if change.base is None:
        return bool(sums["delta_sq"] or sums["nonfinite_tuned"])
    return bool(sums["unequal"] or sums["delta_sq"])


def _notes(change: Change, status: str, sums: Mapping[str, Any]) -> list[str]:
    said = []
    if status == "identical" and not change.recipe.dtype:
        said.append("dead: the adapter names it, and ΔW is exactly zero")
    if status == "reshaped":
        common = change.recipe.shape[0]
        said.append(f"another shape than the base's: {common} common rows were compared")
    broken = {side: sums[f"nonfinite_{side}"] for side in ("base", "tuned")}
    if any(broken.values()):
        counts = " and ".join(f"{count} in {side}" for side, count in broken.items() if count)
        said.append(f"NaN or Inf: {counts}; it has no sums, and no group counts it")
    tuned = change.recipe.tensor if isinstance(change.recipe, Replaced) else None
    if tuned is not None and change.base is not None and status != "identical":
        coarse = {stored_as(side) for side in (change.base, tuned) if is_quantised(side)}
        if coarse:
            names = " and ".join(sorted(coarse))
            said.append(f"stored as {names}: {COARSE}, floor unknown")
    if status == "changed" and sums["base_sq"] == 0:
        said.append("the base is all zero: there is no relative change")
    return said
