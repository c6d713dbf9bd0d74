"""A plan, a diff or a matrix of which only a selection is left; it says so in its `about`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.comparison.coverage import Coverage
from ftdiff.comparison.cut import noun
from ftdiff.comparison.frame import floats, rows_at
from ftdiff.comparison.plan import Plan
from ftdiff.comparison.result import Diff
from ftdiff.comparison.selection import Placed, Selection
from ftdiff.errors import BadCall
from ftdiff.formats.note import Note
from ftdiff.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

#: The code of the note: of the files, that only some of their tensors were taken.
SELECTION = "selection"


def of_plan(plan: Plan, selection: Selection) -> Plan:
    """Return what is left of a plan; `top` is not known yet.

    Parameters that were not selected are not compared: they lower the coverage.

    Raises
    ------
    BadCall
        Nothing is left, or a glob fits nothing.
    """
    if not selection:
        return plan
    placed = [_placed(name, facts) for name, facts in plan.tensors.items()]
    wanted = frozenset(selection.picked(placed))
    return only(plan, wanted)


def settled(
    diff: Diff, plan: Plan, selection: Selection, of: int, metrics: Iterable[str] = ()
) -> tuple[Diff, Plan]:
    """Return a diff whose sums were measured, and its plan, of which the `top` alone are left.

    Parameters
    ----------
    diff, plan
        Of what was selected by name and layer.
    selection
        What is wanted.
    of
        Of how many tensors.
    metrics
        What was asked for: `top` ranks by the first that comes from sums, else by relative norm.

    Raises
    ------
    BadCall
        The `top` are asked for, and no tensor has a value.
    """
    if not selection:
        return diff, plan
    kept = np.ones(len(diff.columns["tensor"]), bool)
    if selection.top is not None:
        sums = [name for name in metrics if name in METRICS and METRICS[name].needs == "sums"]
        kept = _largest(diff, kept, selection.top, sums[0] if sums else "relative_norm")
    columns, about = rows_at(diff.columns, kept), diff.about
    left = only(plan, frozenset(columns["tensor"]))
    if selection.top is not None:
        shares = left.sides.shares(about.get("unreadable", {}))
        about = {**about, "coverage": min(shares.values()), "shares": shares}
    return Diff(columns, said(about, selection, int(kept.sum()), of)), left


def of_diff(diff: Diff, selection: Selection, metric: str = "relative_norm") -> Diff:
    """Return the rows of a diff that are wanted; their numbers are regrouped over them alone.

    Parameters
    ----------
    diff
        Measured or saved.
    selection
        What is wanted.
    metric
        What `top` ranks by, or the change's size where a diff has no such values.

    Raises
    ------
    BadCall
        Nothing is left, or a glob fits nothing.
    """
    if not selection:
        return diff
    columns = diff.columns
    facts = zip(*(columns[name] for name in ("tensor", "component", "stack", "layer")), strict=True)
    names = frozenset(selection.picked(Placed(*row) for row in facts))
    kept = np.array([name in names for name in columns["tensor"]], bool)
    if selection.top is not None:
        kept = _largest(diff, kept, selection.top, metric)
    about = {**diff.about, **_lowered(diff, kept)}
    return Diff(
        rows_at(columns, kept), said(about, selection, int(kept.sum()), len(kept), noun(diff))
    )


def _lowered(diff: Diff, kept: Any) -> dict[str, Any]:
    """Return the coverage, and each side's share, of what is left: by entries of the tensors."""
    entries = np.nan_to_num(floats(diff.columns["numel"]))
    part = float(entries[kept].sum() / (entries.sum() or 1.0))
    about = diff.about
    found: dict[str, Any] = {"coverage": about["coverage"] * part} if "coverage" in about else {}
    if about.get("shares"):
        found["shares"] = {side: share * part for side, share in about["shares"].items()}
    return found


def said(
    about: Mapping[str, Any], selection: Selection, left: int, of: int, row: str = "tensor"
) -> dict[str, Any]:
    """Return what a diff was made from, and that so many of its rows are left."""
    before = about.get("selection") or {"asked": [], "tensors": of, "of": of}
    asked = [*before["asked"], selection.record()]
    record = {"asked": asked, "tensors": left, "of": before["of"]}
    words = " ".join(Selection(**_plain(one)).words for one in asked)
    note = Note(
        SELECTION, f"a selection, {words}: {left:,} of {record['of']:,} {row}s; no number here "
        "is of the others", **record,
    )  # fmt: skip
    was = {str(one.get("text")) for one in about.get("reasons", ()) if one.get("code") == SELECTION}
    notes = [one for one in about.get("notes", ()) if one not in was]
    reasons = [one for one in about.get("reasons", ()) if one.get("code") != SELECTION]
    told = {**note.record(), "text": str(note)}
    return {
        **about, "selection": record, "notes": [str(note), *notes], "reasons": [told, *reasons],
    }  # fmt: skip


def of_matrix(matrix: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Return the rows of a matrix that are these layers, and the columns that globs fit.

    Raises
    ------
    BadCall
        Nothing is left, or the largest cells are asked for, which are no matrix.
    """
    if not selection:
        return matrix
    if selection.top is not None:
        raise BadCall("--top is of tensors: a matrix has none")
    columns = {str(name): name for name in matrix}
    picked = Selection(selection.include, selection.exclude).picked(
        Placed(name, name) for name in columns
    )
    rows = [*matrix.index]
    if selection.layers:
        layers = {f"{i}": row for i, row in enumerate(rows)}
        layers = {str(row): row for row in rows} if all(map(_whole, rows)) else layers
        held = [Placed(name, layer=int(name)) for name in layers]
        rows = [layers[name] for name in Selection(layers=selection.layers).picked(held)]
    return matrix.loc[rows, [columns[name] for name in picked]]


def only(plan: Plan, wanted: frozenset[str]) -> Plan:
    """Return what is left of a plan where these tensors alone are wanted, by their names."""
    sides = plan.sides
    base = sides.base
    if base is not None:
        base = {name: (n if name in wanted else 0, size) for name, (n, size) in base.items()}
    tuned = tuple(
        replace(one, changes=tuple(pair for pair in one.changes if pair[0] in wanted))
        for one in sides.tuned
    )
    return replace(
        plan,
        changes=tuple(one for one in plan.changes if one.address.name in wanted),
        untouched=_of(plan.untouched, wanted),
        added=_of(plan.added, wanted),
        removed=_of(plan.removed, wanted),
        reshaped=_of(plan.reshaped, wanted),
        tensors={name: facts for name, facts in plan.tensors.items() if name in wanted},
        sides=Coverage(base, tuned),
        left_out=frozenset(name for name in plan.tensors if name not in wanted) | plan.left_out,
    )


def _of(names: Iterable[str], wanted: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in wanted)


def _largest(diff: Diff, kept: Any, top: int, metric: str) -> Any:
    """Return in which rows a metric is largest; of matrices, if any was measured."""
    columns = diff.columns
    matrices = kept & np.array([len(shape or ()) > 1 for shape in columns["shape"]], bool)
    if np.isfinite(floats(columns["delta_sq"])[matrices]).any():
        kept = matrices
    ranked = next(
        (
            floats(columns[name])
            for name in (metric, "relative_norm", "rms_change", "delta_sq")
            if name in columns and np.isfinite(floats(columns[name])[kept]).any()
        ),
        None,
    )
    if ranked is None:
        raise BadCall(f"--top {top}: no tensor of the selection has a value of {metric}")
    values = np.where(kept & np.isfinite(ranked), ranked, -np.inf)
    best = np.argsort(-values, kind="stable")[:top]
    found = np.zeros(len(values), bool)
    found[best] = np.isfinite(values[best])
    return found


def _placed(name: str, facts: Mapping[str, Any]) -> Placed:
    return Placed(name, facts.get("component"), facts.get("stack"), facts.get("layer"))


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: tuple(record[name]) for name in ("include", "exclude") if name in record}
    return {**record, **lists}


def _whole(value: Any) -> bool:
    return str(value).isdigit()
