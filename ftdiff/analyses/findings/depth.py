"""How the change runs with depth: trends, peaks in the middle, what the base's norm explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.nulls import discoveries, orders, p_value
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

#: Fewer layers have no depth to speak of.
LEAST = 8


@dataclass(frozen=True)
class Trend:
    """One component against depth: Spearman's ρ, change over depth in percent, p and adjusted p."""

    component: str
    rho: float
    percent: float
    p: float
    q: float
    layers: int


def trends(values: pd.DataFrame, layers: int = LEAST) -> list[Trend]:
    """Test every column of logarithms that has a value in most layers against depth."""
    from scipy.stats import spearmanr, theilslopes

    found = []
    for component in values:
        column = values[component].dropna()
        if len(column) < max(layers, len(values) / 2) or column.nunique() < 3:
            continue
        y = column.to_numpy()
        depth = np.arange(len(y), dtype=float)
        rho = float(spearmanr(depth, y).statistic)
        slope = float(theilslopes(y, depth).slope)
        null = _rank_correlations(y, orders(len(y)))
        p = p_value(abs(rho), np.abs(null))
        percent = 100 * float(np.expm1(slope * (len(y) - 1)))
        found.append((str(component), rho, percent, p, len(y)))
    adjusted = discoveries(np.array([one[3] for one in found]))
    return [
        Trend(name, rho, percent, p, float(q), count)
        for (name, rho, percent, p, count), q in zip(found, adjusted, strict=True)
    ]


@rule("depth-trend", kind="depth")
def depth_trend(
    grid: Grid, *, rho: float = 0.6, q: float = 0.01, percent: float = 15.0, layers: int = LEAST
) -> Iterator[Finding]:
    """Say what rises or falls with depth, and how much of it the base's norms explain."""
    for trend in trends(grid.log, layers):
        size = max(trend.percent, 100 * (1 / (1 + trend.percent / 100) - 1))
        if abs(trend.rho) < rho or trend.q >= q or size < percent:
            continue
        message = (
            f"{trend.component}{grid.where} {_direction(trend.rho)} with depth by "
            f"{abs(trend.percent):.0f} % over {trend.layers} layers (Theil-Sen; Spearman ρ "
            f"{trend.rho:+.2f}, q = {trend.q:.2g} by permuted blocks of layers)."
        )
        found = evidence(**trend.__dict__, stack=grid.stack)
        yield Finding("depth-trend", "note", message, found, grid.cells(trend.component))


@rule("norm-control", kind="depth")
def norm_control(
    grid: Grid, *, rho: float = 0.6, q: float = 0.01, percent: float = 15.0, flat: float = 0.3
) -> Iterator[Finding]:
    """Say where a trend of the relative change is the base's norm: the absolute one lacks it."""
    if grid.metric != "relative_norm" or "rms_change" not in grid.twins:
        return
    absolute = grid.twins["rms_change"].where(grid.values.notna()).apply(np.log)
    twins = {trend.component: trend for trend in trends(absolute)}
    for said in depth_trend(grid, rho=rho, q=q, percent=percent):
        relative, twin = said.evidence, twins.get(said.evidence["component"])
        if twin is None or (twin.rho * relative["rho"] > 0 and abs(twin.rho) >= flat):
            continue
        does = "does not" if abs(twin.rho) < flat else _direction(twin.rho)
        base = "falls" if relative["rho"] > 0 else "rises"
        message = (
            f"{relative['component']}{grid.where}: the relative change "
            f"{_direction(relative['rho'])} with depth (ρ {relative['rho']:+.2f}), the absolute "
            f"change {does} (ρ {twin.rho:+.2f}): the base's norm, which {base}, explains the trend."
        )
        found = evidence(
            component=relative["component"],
            relative_rho=relative["rho"],
            absolute_rho=twin.rho,
            absolute_percent=twin.percent,
            stack=grid.stack,
        )
        yield Finding("norm-control", "caution", message, found, said.cells)


@rule("depth-peak", kind="depth")
def depth_peak(
    grid: Grid, *, bic: float = 6.0, q: float = 0.01, percent: float = 15.0, layers: int = LEAST
) -> Iterator[Finding]:
    """Say what peaks, or dips, in the middle: a parabola against a line by BIC."""
    tested = []
    for component in grid.log:
        column = grid.log[component].dropna()
        if len(column) >= max(layers, len(grid.log) / 2):
            y = column.to_numpy()
            gain, null = _bic_gain(y[None])[0], _bic_gain(y[orders(len(y))])
            tested.append((str(component), column, gain, p_value(gain, null)))
    adjusted = discoveries(np.array([one[3] for one in tested]))
    for (component, column, gain, _), adjusted_p in zip(tested, adjusted, strict=True):
        vertex, drop = _vertex(column.to_numpy())
        if gain < bic or adjusted_p >= q or not 0.15 <= vertex <= 0.85:
            continue
        size = 100 * float(np.expm1(min(abs(drop), 50.0)))
        if size < percent:
            continue
        layer = column.index[round(vertex * (len(column) - 1))]
        does = "peaks" if drop > 0 else "dips"
        message = (
            f"{component}{grid.where} {does} in the middle, about layer {layer}: {size:.0f} % "
            f"{'above' if drop > 0 else 'below'} its ends (parabola against line: ΔBIC "
            f"{gain:.1f}, q = {adjusted_p:.2g})."
        )
        found = evidence(
            component=component, layer=layer, bic=gain, q=adjusted_p, percent=size, stack=grid.stack
        )
        yield Finding("depth-peak", "note", message, found, grid.cells(component))


def _direction(rho: float) -> str:
    return "rises" if rho > 0 else "falls"


def _rank_correlations(y: Array, permuted: Array) -> Array:
    """Return Spearman's ρ of `y` against depth, for each order of the layers."""
    from scipy.stats import rankdata

    ranks = rankdata(y)
    ranks = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
    depth = np.arange(len(y)) - (len(y) - 1) / 2
    found: Array = ranks[permuted] @ (depth / np.linalg.norm(depth))
    return found


def _bic_gain(rows: Array) -> Array:
    """Return, for each row, BIC of a line less that of a parabola (Schwarz, 1978)."""
    n = rows.shape[1]
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, n), 3, increasing=True))[0]
    parts = (rows @ basis) ** 2
    whole = (rows**2).sum(axis=1)
    line = whole - parts[:, :2].sum(axis=1)
    parabola = np.maximum(line - parts[:, 2], 1e-300)
    gain: Array = n * np.log(np.maximum(line, 1e-300) / parabola) - np.log(n)
    return gain


def _vertex(y: Array) -> tuple[float, float]:
    """Return where the fitted parabola turns, from 0 to 1, and its height there above the ends."""
    x = np.linspace(0, 1, len(y))
    a, b, _ = np.polyfit(x, y, 2)
    if not a:
        return -1.0, 0.0
    at = float(-b / (2 * a))
    ends = float(a + b) / 2  # mean of the two ends, less the constant
    return at, float(a * at**2 + b * at) - ends
