"""What the numbers say: a statistic, a null and a threshold behind every sentence."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings import (
    concentration,
    contrasts,
    controls,
    crossings,
    depth,
    groups,
    outliers,
    regime,
    runs,
    tensors_apart,
    uniform,
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
    "depth",
    "findings",
    "groups",
    "outliers",
    "regime",
    "rule",
    "runs",
    "structural",
    "tensors_apart",
    "uniform",
]


#: Kinds in the order in which they speak; some only where others have not.
_ORDER = ("context", "depth", "structure", "contrast", "uniform", "power", "control")


def findings(
    data: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    limits: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Finding]:
    """Say what a diff, or a plain matrix, shows: movement, where it differs, and what explains it.

    Parameters
    ----------
    data
        A diff, or a matrix with a row per layer and a column per component.
    metric
        What patterns are looked for in: by default the relative norm; without a base the
        root-mean-square change. Of a plain matrix, any text.
    limits
        Thresholds to use instead of the defaults, by rule:
        ``{"contrast": {"ratio": 1.5}}``.

    Returns
    -------
    list of Finding
        What is of the whole, then depth, structure and contrasts, a stack after the other;
        deterministic.

    Raises
    ------
    UnknownName
        A metric, a rule or one of its thresholds does not exist.
    BadCall
        The data is neither a diff nor a matrix of numbers.
    """
    options = _checked(limits or {})
    if metric is None:
        absolute = isinstance(data, Diff) and not data.about.get("base")
        metric = "rms_change" if absolute else "relative_norm"
    rows = _of("diff", data, options) if isinstance(data, Diff) else []
    for grid in grids(data, metric):
        rows = _once(rows, _of("grid", grid, options))
    return rows


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


def _of(of: str, subject: Diff | Grid, options: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    rows: list[Finding] = []
    for name, one in sorted(RULES.items(), key=lambda item: _ORDER.index(item[1].kind)):
        kinds = {_kind(row) for row in rows}
        even = not kinds & {*STRUCTURAL, "contrast"}
        silent = {"uniform": not even, "power": bool(kinds & {"depth", "uniform"})}
        if one.of == of and not silent.get(one.kind):
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
