"""What a report says: values and sentences drawn from a diff, and nothing of how they look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings import findings
from ftdiff.comparison.result import MOVED, Diff
from ftdiff.naming import component_order
from ftdiff.reports.per_tensor import apart, methods
from ftdiff.reports.summary import summary

#: What a summary shows of a group, in this order.
SHOWN = ("relative_norm", "rotation", "scale_share", "precision_floor", "lift", "energy_share")
_STATUSES = ("changed", "reshaped", "identical", "untouched", "added", "removed", "unreadable")
_SNR = 10.0


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
        Every metric over all that moved.
    components, layers
        A row per group: its name, the metrics of `SHOWN`, and how many of its tensors moved.
    apart, methods
        A row per metric that was measured tensor by tensor, and how that was done; see `apart`.
    cautions
        Whole sentences about what does not fit, what is not finite, what is under the floor.
    lists
        Under a heading, tensors or keys and what is said of each.
    about
        Provenance, as in `Diff.about`.
    summary, findings
        The report in ten lines, and the findings behind them; empty unless words were asked for.
    """

    title: str
    coverage: float
    statuses: Mapping[str, int]
    overall: Mapping[str, float]
    components: tuple[Mapping[str, Any], ...]
    layers: tuple[Mapping[str, Any], ...]
    apart: tuple[Mapping[str, Any], ...]
    methods: str
    cautions: tuple[str, ...]
    lists: Mapping[str, Mapping[str, str]]
    about: Mapping[str, Any]
    summary: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def document(diff: Diff, *, words: bool = False) -> Document:
    """Draw up a report of a diff; with words, also test it for patterns, which takes a second."""
    found = tuple(findings(diff)) if words else ()
    base, tuned = diff.about.get("base"), diff.about.get("tuned")
    counts = diff.frame["status"].value_counts().to_dict()
    return Document(
        title=f"{base or 'no base'} → {tuned} ({diff.about.get('kind')})",
        coverage=float(diff.about.get("coverage", float("nan"))),
        statuses={name: int(counts[name]) for name in _STATUSES if name in counts},
        overall=diff.overall,
        components=_groups(diff, "component"),
        layers=_groups(diff, "layer"),
        apart=apart(diff),
        methods=methods(diff),
        cautions=tuple(_cautions(diff)),
        lists=_lists(diff),
        about=diff.about,
        summary=summary(diff, found) if words else (),
        findings=found,
    )


def _groups(diff: Diff, column: str) -> tuple[dict[str, Any], ...]:
    shown = SHOWN if diff.about.get("base") else ("rms_change", "energy_share", "lift")
    frame = diff.by(column, metrics=shown, param="weight").dropna(subset=[column])
    frame = frame[frame["moved"] > 0]
    if column == "component":
        places = {word: i for i, word in enumerate(component_order(frame[column]))}
        frame = frame.sort_values(column, key=lambda words: words.map(places))
    frame = frame[[column, *shown]].assign(
        moved=frame["moved"].astype(str) + "/" + frame["tensors"].astype(str)
    )
    return tuple(
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in _records(frame)
    )


def _cautions(diff: Diff) -> list[str]:
    frame, about = diff.frame, diff.about
    said = list(about.get("notes", ()))
    if not about.get("base"):
        said.append("Without a base there are absolute norms only: give one for relative change.")
    moved = frame[frame["status"].isin(MOVED)]
    dead = frame[(frame["status"] == "identical") & frame["tuned_dtype"].isna()]
    if len(dead):
        said.append(
            f"Of {len(dead) + len(moved)} adapted tensors, {_number(len(dead), 'is', 'are')} dead: "
            f"ΔW is exactly zero ({dead['tensor'].iloc[0]}{', …' if len(dead) > 1 else ''})."
        )
    broken = frame[(frame[["nonfinite_base", "nonfinite_tuned"]].fillna(0) > 0).any(axis=1)]
    if len(broken):
        said.append(
            f"{_number(len(broken), 'tensor holds', 'tensors hold')} NaN or Inf "
            f"({broken['nonfinite_base'].sum()} entries in "
            f"base, {broken['nonfinite_tuned'].sum()} in tuned; {broken['tensor'].iloc[0]}, …): "
            f"{'it has' if len(broken) == 1 else 'they have'} no number but counts, "
            "and groups are over the others."
        )
    said += _precision(moved) if "snr" in moved else []
    return said + _pairing(diff)


def _precision(moved: pd.DataFrame) -> list[str]:
    faint = moved[(moved["snr"] < _SNR).fillna(False)]
    if not len(faint):
        return []
    stored = "/".join(sorted(set(faint["tuned_dtype"].fillna(faint["base_dtype"]))))
    merging = faint["tuned_dtype"].isna().all()  # an adapter has no storage of its own yet
    fate = "would drown when merged into" if merging else "cannot be told from rounding to"
    one = len(faint) == 1
    few = f"{len(faint)} of {len(moved)} changes {'is' if one else 'are'} under {_SNR:g} times the "
    named = faint["tensor"].iloc[0] + ("" if one else ", …")
    return [f"{few}squared rounding error: {'it' if one else 'they'} {fate} {stored} ({named})."]


def _pairing(diff: Diff) -> list[str]:
    about, said = diff.about, []
    if about.get("renamed"):
        tuned, base = next(iter(about["renamed"].items()))
        names = _number(len(about["renamed"]), "name differs", "names differ")
        said.append(f"{names} in spelling, matched without the wrappers ({tuned} is {base}).")
    for row in _with_status(diff, "reshaped"):
        measured = f"the common {row['numel']:,} entries were compared"
        said.append(
            f"{row['tensor']} has another shape in tuned ({_times(row['shape'])}): "
            f"{'nothing of it could be compared' if pd.isna(row['delta_sq']) else measured}."
        )
    if about.get("unmatched"):
        keys = _number(len(about["unmatched"]), "key of the adapter", "keys of the adapter")
        said.append(f"{keys} led to no change; see below.")
    return said


def _with_status(diff: Diff, status: str) -> list[dict[str, Any]]:
    return _records(diff.frame[diff.frame["status"] == status])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


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
    for status in ("added", "removed"):
        lists[f"only in {'tuned' if status == 'added' else 'base'}"] = {
            row["tensor"]: _times(row["shape"])
            for row in _with_status(diff, status)
            if row["shape"] is not None  # a key that matched nothing has its own list
        }
    return {heading: names for heading, names in lists.items() if names}
