"""What the numbers say: a statistic, a null and a threshold behind every sentence.

To add a finding: a generator decorated with `@rule`, in the module of its kind; its test has a grid
on which it speaks, one on which it does not, and noise on which it stays silent.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ftdiff.analyses.finding import Finding, findings, speaks_for
from ftdiff.analyses.findings import (
    concentration,
    contrasts,
    controls,
    crossings,
    damage,
    depth,
    groups,
    outliers,
    regime,
    runs,
    still,
    structure,
    tensors_apart,
    uniform,
    worth,
)
from ftdiff.analyses.findings.registry import RULES, STRUCTURAL, Rule, rule
from ftdiff.comparison.grid import Grid, grids
from ftdiff.comparison.result import Diff
from ftdiff.registry import Registry

__all__ = [
    "RULES",
    "STRUCTURAL",
    "Finding",
    "Rule",
    "concentration",
    "contrasts",
    "controls",
    "crossings",
    "damage",
    "depth",
    "findings",
    "groups",
    "of_diff",
    "outliers",
    "regime",
    "rule",
    "runs",
    "still",
    "structural",
    "structure",
    "tensors_apart",
    "uniform",
    "worth",
]


#: Kinds in the order in which they speak; some only where others have not.
_ORDER = ("damage", "context", "depth", "structure", "contrast", "uniform", "power", "control")


@speaks_for(Diff, pd.DataFrame)
def of_diff(
    data: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    limits: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Finding]:
    """Say what a diff, or a plain matrix, shows; the arguments are those of `findings`.

    What is broken comes first, then what is of the whole, then depth, structure and contrasts, a
    stack after the other; nothing is even while something is broken.
    """
    options = _checked(limits or {})
    if metric is None:
        absolute = isinstance(data, Diff) and not data.about.get("base")
        metric = "rms_change" if absolute else "relative_norm"
    rows = _of("diff", data, options) if isinstance(data, Diff) else []
    for grid in grids(data, metric):
        rows = _once(rows, _of("grid", grid, options))
    return _led(rows)


def _once(rows: list[Finding], more: list[Finding]) -> list[Finding]:
    """Put findings together, a pattern once: no share of an outlier, no layers of a told run."""
    apart = {one.evidence["component"] for one in more if one.rule == "outlier-component"}
    layers = any(one.rule in ("depth-peak", "layer-groups", "outlier-layer") for one in more)
    return [
        *(one for one in rows if one.rule != "lift" or one.evidence["component"] not in apart),
        *(one for one in more if one.rule != "concentrated" or not layers),
    ]


def structural(rows: Iterable[Finding]) -> list[Finding]:
    """Return those that claim a pattern."""
    return [one for one in rows if _kind(one) in STRUCTURAL]


def broken(rows: Iterable[Finding]) -> list[Finding]:
    """Return those that say what is broken."""
    return [one for one in rows if _kind(one) == "damage"]


def _led(rows: list[Finding]) -> list[Finding]:
    """Put what is broken first; nothing is even beside it, and another base says nothing else."""
    lead = broken(rows)
    if any(one.rule == "another-base" for one in lead):
        return lead
    rest = [one for one in rows if one not in lead]
    return [*lead, *(one for one in rest if not lead or one.rule != "uniform")]


def _of(of: str, subject: Diff | Grid, options: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    rows: list[Finding] = []
    alone = isinstance(subject, Grid) and subject.is_too_large
    for name, one in sorted(RULES.items(), key=lambda item: _ORDER.index(item[1].kind)):
        kinds = {_kind(row) for row in rows}
        even = not kinds & {*STRUCTURAL, "contrast"}
        silent = {"uniform": not even, "power": bool(kinds & {"depth", "uniform"})}
        if one.of == of and not silent.get(one.kind) and (not alone or name == "left-out"):
            rows += one.generate(subject, **options.get(name, {}))
    return rows


def _kind(row: Finding) -> str:
    return RULES[row.rule].kind if row.rule in RULES else ""


def _checked(limits: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
    for name, given in limits.items():
        keywords = inspect.signature(RULES[name].generate).parameters
        known = {k: v for k, v in keywords.items() if v.kind is inspect.Parameter.KEYWORD_ONLY}
        for keyword in given:
            Registry(f"threshold of {name}", known)[keyword]
    return limits
