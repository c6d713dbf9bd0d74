"""What a report says: values and sentences drawn from a diff, and nothing of how they look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.kind_of_change import sentences
from ftdiff.comparison.alignment.layers import OWN
from ftdiff.comparison.blur import blur
from ftdiff.comparison.cut import noun
from ftdiff.comparison.frame import Columns, among, floats, length, plain, rows_at
from ftdiff.comparison.reasons import FEW_BITS, SAVED, TIED, reasons, with_code
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import headline, withheld
from ftdiff.comparison.statuses import ADDED, IDENTICAL, MOVED, REMOVED, RESHAPED, STATUSES
from ftdiff.comparison.vocabulary_words import rows_said
from ftdiff.metrics import TRUSTED_SNR
from ftdiff.naming import component_order
from ftdiff.naming.stack_order import stack_labels, stack_order
from ftdiff.naming.translation import is_translated
from ftdiff.reports.per_tensor import apart, methods
from ftdiff.reports.worth import worth

#: What a summary shows of a group, in this order.
SHOWN = ("relative_norm", "rotation", "scale_share", "precision_floor", "lift", "energy_share")


@dataclass(frozen=True)
class Document:
    """A report's content.

    Attributes
    ----------
    title
        What was compared.
    coverage
        Share of both sides' parameters that was compared.
    statuses
        Number of tensors by status.
    overall
        Every metric over all matrices; none where that would not be of the whole.
    headlines
        For the metrics that are shown, the number and over which tensors it is, in words.
    components, layers
        A row per group: its name, the metrics of `SHOWN`, and how many of its tensors moved.
    worth
        A row per layer of what it is worth on a text; none where no text was run.
    apart, methods
        A row per metric that was measured tensor by tensor, and how that was done; see `apart`.
    cautions
        Whole sentences about what does not fit, what is not finite, what is under the floor.
    lists
        Under a heading, tensors or keys and what is said of each.
    about
        Provenance, as in `Diff.about`.
    structure
        What kind of change it is, in whole sentences; none where its structure tells nothing.
    summary, findings
        The report in ten lines, and the findings behind them; empty unless words were asked for.
    """

    title: str
    coverage: float
    statuses: Mapping[str, int]
    overall: Mapping[str, float]
    headlines: Mapping[str, str]
    components: tuple[Mapping[str, Any], ...]
    layers: tuple[Mapping[str, Any], ...]
    apart: tuple[Mapping[str, Any], ...]
    methods: str
    cautions: tuple[str, ...]
    lists: Mapping[str, Mapping[str, str]]
    about: Mapping[str, Any]
    worth: tuple[Mapping[str, Any], ...] = ()
    structure: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def document(diff: Diff, *, words: bool = False) -> Document:
    """Draw up a report of a diff; with words, also test it for patterns, which takes a second."""
    spoken: dict[str, Any] = _spoken(diff) if words else {}
    base, tuned = diff.about.get("base"), diff.about.get("tuned")
    counts = Counter(diff.columns["status"].tolist())
    return Document(
        title=f"{base or 'no base'} → {tuned} ({diff.about.get('kind')})",
        coverage=float(diff.about.get("coverage", float("nan"))),
        statuses={name: counts[name] for name in STATUSES if name in counts},
        overall=diff.overall if not withheld(diff) else {},
        headlines={name: headline(diff, name) for name in ("relative_norm", "rms_change")},
        components=_groups(diff, "component"),
        layers=_groups(diff, "layer"),
        apart=apart(diff),
        methods=methods(diff),
        cautions=tuple(_cautions(diff)),
        lists=_lists(diff),
        about=diff.about,
        worth=worth(diff),
        structure=tuple(sentences(diff)),
        **spoken,
    )


def _spoken(diff: Diff) -> dict[str, Any]:
    """Return the summary and the findings, whose tests load heavy libraries."""
    from ftdiff.analyses.findings import findings
    from ftdiff.reports.summary import summary

    found = tuple(findings(diff))
    return {"summary": summary(diff, found), "findings": found}


def _groups(diff: Diff, column: str) -> tuple[dict[str, Any], ...]:
    shown = SHOWN if diff.about.get("base") else ("rms_change", "energy_share", "lift")
    groups = plain(diff.grouped(column, metrics=shown, param="weight"))
    rows = [row for row in groups if row[column] is not None and row["moved"]]
    if column == "component":
        places = {word: i for i, word in enumerate(component_order(row[column] for row in rows))}
        rows.sort(key=lambda row: places[row[column]])
    towers = ("stack",) if column == "layer" and any(row["stack"] for row in rows) else ()
    if towers:
        rows = _in_order(rows)
    return tuple(
        {name: row[name] for name in (*towers, column, *shown)}
        | {"moved": f"{row['moved']}/{row['tensors']}", **_scope(row)}
        for row in rows
    )


def _in_order(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return layers stack by stack, in the model's order, the stacks called as people call them."""
    stacks = [*dict.fromkeys(row["stack"] for row in rows)]
    labels, order = stack_labels(stacks), stack_order(stacks)
    ordered = sorted(rows, key=lambda row: order.index(row["stack"]))
    return [{**row, "stack": labels[row["stack"]]} for row in ordered]


def _scope(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a group's number is over, where that is not all of the group's matrices."""
    if not row["counted"]:
        return {"over": "nothing measured"}
    plain = row["of"] != "vectors" and row["counted"] in (row["tensors"], row["moved"])
    of = {"matrices": "matrix", "vectors": "vector"} if row["counted"] == 1 else {}
    return {"over": "" if plain else f"{row['counted']} {of.get(row['of'], row['of'])}"}


def _cautions(diff: Diff) -> list[str]:
    columns, about, row = diff.columns, diff.about, noun(diff)
    said = list(about.get("notes", ()))
    if not about.get("base"):
        said.append("Without a base there are absolute norms only: give one for relative change.")
    moved = rows_at(columns, among(columns["status"], MOVED))
    identical = columns["status"] == IDENTICAL
    dead = columns["tensor"][identical & among(columns["tuned_dtype"], (None,))]
    if len(dead):
        said.append(
            f"Of {len(dead) + length(moved)} adapted {row}s, {_number(len(dead), 'is', 'are')} "
            f"dead: ΔW is exactly zero ({dead[0]}{', …' if len(dead) > 1 else ''})."
        )
    sides = [np.nan_to_num(floats(columns[f"nonfinite_{side}"])) for side in ("base", "tuned")]
    broken = columns["tensor"][(sides[0] > 0) | (sides[1] > 0)]
    if len(broken):
        said.append(
            f"{_number(len(broken), f'{row} holds', f'{row}s hold')} NaN or Inf "
            f"({int(sides[0].sum())} entries in "
            f"base, {int(sides[1].sum())} in tuned; {broken[0]}, …): "
            f"{'it has' if len(broken) == 1 else 'they have'} no number but counts, "
            "and groups are over the others."
        )
    said += _precision(moved) if "snr" in moved else []
    blurred = blur(diff)
    said += [blurred.sentence] if blurred is not None else []
    return said + _pairing(diff)


def _precision(moved: Columns) -> list[str]:
    faint = rows_at(moved, (moved["snr"] < TRUSTED_SNR) & ~with_code(moved, FEW_BITS))
    count = length(faint)
    if not count:
        return []
    held = zip(faint["tuned_dtype"], faint["base_dtype"], strict=True)
    stored = "/".join(sorted({tuned or base for tuned, base in held}))
    # an adapter has no storage of its own yet
    merging = all(tuned is None for tuned in faint["tuned_dtype"])
    fate = "would drown when merged into" if merging else "cannot be told from rounding to"
    one = count == 1
    few = f"{count} of {length(moved)} changes {'is' if one else 'are'} under {TRUSTED_SNR:g} "
    few += f"times the squared rounding error: {'it' if one else 'they'}"
    return [f"{few} {fate} {stored} ({faint['tensor'][0]}{'' if one else ', …'})."]


def _numbers(name: str) -> list[str]:
    """Return the numbers in a name: where they differ, it is another layer, and that is said."""
    return [word for word in name.split(".") if word.isdecimal()]


def _pairing(diff: Diff) -> list[str]:
    about, said = diff.about, []
    told = {one["name"] for one in reasons(about, TIED)}
    spelled = {
        tuned: base
        for tuned, base in about.get("renamed", {}).items()
        if _numbers(tuned) == _numbers(base)
        and tuned not in told
        and base != f"{OWN}{tuned}"
        and not is_translated(tuned, base)
    }
    if spelled:
        tuned, base = next(iter(spelled.items()))
        names = _number(len(spelled), "name differs", "names differ")
        said.append(f"{names} in spelling, matched without the wrappers ({tuned} is {base}).")
    for row in _with_status(diff, RESHAPED):
        if (rows := rows_said(row)) is not None:
            said.append(f"{row['tensor']} ({_times(row['shape'])}): {rows}.")
            continue
        nothing = row["delta_sq"] is None or not row["numel"]
        measured = f"the common {row['numel']:,} entries were compared"
        said.append(
            f"{row['tensor']} has another shape in tuned ({_times(row['shape'])}): "
            f"{'nothing of it could be compared' if nothing else measured}."
        )
    if about.get("unmatched"):
        said.append(f"{_unmatched(diff)} of the adapter led to no change; see below.")
    return said


def _unmatched(diff: Diff) -> str:
    """Count what led to no change: modules, which have a shape, and single keys."""
    rows = rows_at(diff.columns, among(diff.columns["tensor"], tuple(diff.about["unmatched"])))
    modules = sum(shape is not None for shape in rows["shape"])
    keys = len(diff.about["unmatched"]) - modules
    told = [_number(modules, "module", "modules")] if modules else []
    return " and ".join(told + ([_number(keys, "key", "keys")] if keys else []))


def _with_status(diff: Diff, status: str) -> list[dict[str, Any]]:
    return plain(rows_at(diff.columns, diff.columns["status"] == status))


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _lists(diff: Diff) -> dict[str, dict[str, str]]:
    about = diff.about
    lists: dict[str, dict[str, str]] = {
        "could not be read": dict(about.get("unreadable", {})),
        "matched nothing": dict(about.get("unmatched", {})),
    }
    for status, side in ((ADDED, "tuned"), (REMOVED, "base")):
        for row in _with_status(diff, status):
            if row["tensor"] not in lists["matched nothing"]:
                saved = row.get("reason") == SAVED
                heading = "saved whole, no change known" if saved else f"only in {side}"
                lists.setdefault(heading, {})[row["tensor"]] = _times(row["shape"])
    return {heading: names for heading, names in lists.items() if names}
