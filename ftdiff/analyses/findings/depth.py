"""How the change runs with depth: what rises or falls, and what the base's norm explains of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ftdiff.analyses.finding import Finding, listed
from ftdiff.analyses.findings.curves import (
    ALL,
    LEAST,
    Curve,
    components,
    curves,
    magnitude,
    of_columns,
)
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid

TEST = "line whitened under one AR(1), Benjamini-Hochberg over components"
#: A run is preferred to a line where it is better by so much BIC.
CLEARLY = 6.0
#: Share of the components in which a curve of all must be seen, at a third of its size.
_WIDELY = 0.8


def is_line(
    curve: Curve, *, rho: float = 0.6, q: float = 0.01, percent: float = 15.0, bic: float = CLEARLY
) -> bool:
    """Whether a curve rises or falls: tested, monotone, large enough, and no run fits better."""
    if curve.line_q >= q or abs(curve.rho) < rho:
        return False
    if curve.run_q < q and curve.run_bic - curve.line_bic >= bic:
        return False
    return magnitude(np.log1p(curve.slope_percent / 100)) >= percent


@rule(
    "depth-trend",
    kind="depth",
    null=(
        "a line, whitened under the grid's own AR(1), Benjamini-Hochberg over components: q < 0.01"
    ),
    power="60 % in one of 7 components: 13 % of models of 8 layers, 63 % of 24, all of 48",
)
def depth_trend(
    grid: Grid, *, rho: float = 0.6, q: float = 0.01, percent: float = 15.0, layers: int = LEAST
) -> Iterator[Finding]:
    """Say in one sentence what rises and what falls with depth."""
    tested = curves(grid, layers)
    lines = [one for one in tested if is_line(one, rho=rho, q=q, percent=percent)]
    alone = components(lines)
    common = next((one for one in lines if one.name == ALL), None)
    if common is not None and _everywhere(common, components(tested)):
        agreeing = [one for one in components(tested) if one.slope_percent * common.rho > 0]
        names = {one.name for one in agreeing}
        yield _common(grid, common, agreeing)
        alone = [one for one in alone if one.name not in names]
    if alone:
        yield _several(grid, alone)


def _everywhere(common: Curve, members: Sequence[Curve]) -> bool:
    """Whether most components change as the curve of all does, by a third of it or more."""
    size = np.log1p(common.slope_percent / 100)
    alike = [np.log1p(one.slope_percent / 100) / size >= 1 / 3 for one in members]
    return float(np.mean(alike)) >= _WIDELY


def _common(grid: Grid, common: Curve, members: Sequence[Curve]) -> Finding:
    ordered = sorted(members, key=lambda one: one.slope_percent)
    low, high = ordered[0], ordered[-1]
    does = "rises" if common.rho > 0 else "falls"
    message = (
        f"The change{grid.where} {does} with depth in {_count(members, grid)}: "
        f"{_percent(common)} over {len(common.log)} layers"
    )
    if _percent(low) != _percent(high):
        message += f", from {_named(low)} to {_named(high)}"
    message += "."
    return _finding(grid, message, [common, *members])


def _several(grid: Grid, lines: Sequence[Curve]) -> Finding:
    parts = []
    for verb, sign in (("rise", 1), ("fall", -1)):
        mine = sorted((one for one in lines if one.rho * sign > 0), key=_size, reverse=True)
        if mine:
            names = listed([_named(one) for one in mine], len(mine))
            head, _, last = names.rpartition(", ")
            parts.append(f"{f'{head} and {last}' if head else last} {verb}{'s' * (len(mine) < 2)}")
    layers = max(len(one.log) for one in lines)
    message = f"With depth {', '.join(parts)}{grid.where} (over {layers} layers)."
    return _finding(grid, message, lines)


def _finding(grid: Grid, message: str, lines: Sequence[Curve]) -> Finding:
    rows = [
        {
            "component": one.name, "rho": one.rho, "percent": one.slope_percent,
            "p": one.line_p, "q": one.line_q, "layers": len(one.log),
        }
        for one in lines
    ]  # fmt: skip
    found = evidence(trends=rows, phi=lines[0].phi, test=TEST, stack=grid.stack)
    cells = tuple(cell for one in lines if one.name != ALL for cell in grid.cells(one.name))
    return Finding("depth-trend", "note", message, found, cells)


def _count(members: Sequence[Curve], grid: Grid) -> str:
    whole = grid.values.shape[1]
    return (
        f"all {whole} components"
        if len(members) == whole
        else f"{len(members)} of {whole} components"
    )


def _named(curve: Curve) -> str:
    return f"{curve.name} ({_percent(curve)})"


def _percent(curve: Curve) -> str:
    return f"{curve.slope_percent:+.0f}%".replace("-", "−")


def _size(curve: Curve) -> float:
    return magnitude(np.log1p(curve.slope_percent / 100))


@rule(
    "norm-control",
    kind="control",
    null="that of the trend; flat is an absolute change whose ρ is under 0.3 or of the other sign",
    power="that of the trend, which it explains",
)
def norm_control(
    grid: Grid, *, rho: float = 0.6, q: float = 0.01, percent: float = 15.0, flat: float = 0.3
) -> Iterator[Finding]:
    """Say where a trend of the relative change is the base's norm: the absolute one lacks it."""
    if grid.metric != "relative_norm" or "rms_change" not in grid.twins:
        return
    absolute = grid.twins["rms_change"].where(grid.values.notna()).apply(np.log)
    twins = {curve.name: curve for curve in of_columns(absolute)}
    for sign in (1, -1):
        pairs = [
            (one, twins[one.name])
            for one in components(curves(grid))
            if one.name in twins and one.rho * sign > 0
            and is_line(one, rho=rho, q=q, percent=percent)
            and not (twins[one.name].rho * sign > 0 and abs(twins[one.name].rho) >= flat)
        ]  # fmt: skip
        if pairs:
            yield _explained(grid, pairs, sign)


def _explained(grid: Grid, pairs: Sequence[tuple[Curve, Curve]], sign: int) -> Finding:
    does, base = ("rises", "falls") if sign > 0 else ("falls", "rises")
    names = [one.name for one, _ in pairs]
    message = (
        f"{listed(names, len(names))}{grid.where}: the relative change {does} with depth, the "
        f"absolute change does not: the base's norm, which {base}, explains the trend."
    )
    found = evidence(
        components=names,
        relative_rho=[one.rho for one, _ in pairs],
        absolute_rho=[twin.rho for _, twin in pairs],
        absolute_percent=[twin.slope_percent for _, twin in pairs],
        stack=grid.stack,
    )
    cells = tuple(cell for name in names for cell in grid.cells(name))
    return Finding("norm-control", "caution", message, found, cells)
