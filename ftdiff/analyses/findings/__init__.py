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
    damage,
    depth,
    groups,
    outliers,
    regime,
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
    "damage",
    "depth",
    "findings",
    "groups",
    "of_diff",
    "outliers",
    "regime",
    "rule",
    "uniform",
]


@speaks_for(Diff, pd.DataFrame)
def of_diff(
    data: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    limits: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Finding]:
    """Say what a diff, or a plain matrix, shows; the arguments are those of `findings`."""
    options = _checked(limits or {})
    if metric is None:
        absolute = isinstance(data, Diff) and not data.about.get("base")
        metric = "rms_change" if absolute else "relative_norm"
    found: list[Finding] = []
    if isinstance(data, Diff):
        found += _said("diff", data, options)
    for grid in grids(data, metric):
        found += _said("grid", grid, options)
    return _led(found)


def structural(found: Iterable[Finding]) -> list[Finding]:
    """Return those that claim a pattern."""
    return [one for one in found if one.rule in RULES and RULES[one.rule].kind in STRUCTURAL]


def broken(found: Iterable[Finding]) -> list[Finding]:
    """Return those that say what is broken."""
    return [one for one in found if one.rule in RULES and RULES[one.rule].kind == "damage"]


def _led(found: list[Finding]) -> list[Finding]:
    """Put what is broken first; beside another base nothing else tells of training."""
    lead = broken(found)
    if any(one.rule == "another-base" for one in lead):
        return lead
    return [*lead, *(one for one in found if one not in lead)]


def _said(of: str, subject: Diff | Grid, options: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    found: list[Finding] = []
    for name, one in RULES.items():
        if one.of != of or (one.kind == "uniform" and structural(found)):
            continue
        found += one.generate(subject, **options.get(name, {}))
    return found


def _checked(limits: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
    for name, given in limits.items():
        keywords = inspect.signature(RULES[name].generate).parameters
        known = {k: v for k, v in keywords.items() if v.kind is inspect.Parameter.KEYWORD_ONLY}
        for keyword in given:
            Registry(f"threshold of {name}", known)[keyword]
    return limits
