"""Lines over layers, one for each component, with a band about them and what noise gives."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ftdiff.analyses.finding import Finding
from ftdiff.comparison.component_styles import Look, looks
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.comparison.sublayers import unfolded
from ftdiff.errors import BadCall, near
from ftdiff.metrics import METRICS
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.axes import FAINT
from ftdiff.plots.elements.cells import FLOOR
from ftdiff.plots.elements.colours import LARGEST
from ftdiff.plots.elements.titles import Title, titled
from ftdiff.plots.heatmaps.columns import chosen, renamed
from ftdiff.plots.heatmaps.matrix import (
    Matrix,
    default_metric,
    doubts,
    matrix_of,
    whole_layers,
)
from ftdiff.plots.heatmaps.modules import still_map
from ftdiff.tensors import Array

By = Literal["component", "block", "layer"]
_WHOLE = "whole layer"
# A line of noise is drawn where the data keep this share of the axis; else it is said in words.
_LEAST_SHARE = 0.4


def profile(
    diff: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    ax: Axes | None = None,
    by: By = "component",
    stack: str | None = None,
    others: bool | None = None,
    band: tuple[float, float] | None = (5.0, 95.0),
    noise: bool = True,
    trend: Iterable[Finding] = (),
    log: bool = False,
    title: Title = None,
    bare: bool = False,
) -> Axes:
    """Draw one metric over the layers, a line for each component.

    Parameters
    ----------
    diff, metric, ax
        As for `heatmap`; of a plain matrix each column is a line.
    by
        "component" gives a line for each, "block" one for attention and one for the MLP, "layer"
        one of all weights; a line of several tensors is from their sums, not the mean of ratios.
    stack, others
        As for the style "modules".
    band
        Percentiles of the tensors of each line in each layer. Where a line is of one tensor a
        layer, the band is grey, and of all the lines. The notes say which; None draws none.
    noise
        Whether to draw what noise alone gives (of relative norms, the precision floor): the
        median over the layer's tensors. Where it is too far from the data for both to be seen, the
        notes give its number.
    trend
        Findings: the Theil-Sen line of each depth trend among them that is of a line drawn.
    log
        Heights as logarithms.
    title, bare
        Text above, by default what was compared with what, False for none; whether to leave out all
        text but the axes' numbers.

    Returns
    -------
    Axes
        Its lines are labelled by component; bands have the gid "band", noise "noise", trends
        "trend", hollow points "under-the-floor".

    Raises
    ------
    UnknownName, BadCall
        As for `heatmap`.
    """
    metric = default_metric(diff) if metric is None else metric
    matrix = _matrix(diff, metric, by, stack, others)
    if matrix.still:
        return still_map(ax, matrix, title, bare=bare)
    values, styles = matrix.values, looks(matrix.values)
    if log and not (values > 0).to_numpy().any():
        raise BadCall(f"nothing to draw: no value of {metric} has a logarithm")
    bands, said = _bands(diff, metric, by, matrix, band)
    null = _noise(diff, metric, by, matrix) if noise else None
    if ax is None:
        ax = chart.new_chart(names=styles)
    chart.dressed(ax)
    x = np.arange(len(values))
    for name, (low, high) in bands.items():
        colour = styles[name].colour if name in styles else FAINT
        ax.fill_between(
            x, low, high, color=colour, alpha=0.16, linewidth=0, gid=chart.BAND, label=name
        )
    for name in styles:
        _line(ax, x, values[name].to_numpy(), matrix.doubtful[name].to_numpy(bool), styles[name])
        ax.lines[-1].set_label(name)
    _trends(ax, trend, matrix, styles)
    data = [values.to_numpy(), *(edge for pair in bands.values() for edge in pair)]
    notes = [said, _draw_noise(ax, null, data, log=log)]
    ax.set_ylim(*chart.heights([*data, *_drawn(ax, chart.NOISE)], log=log))
    chart.label_layers(ax, values.index)
    chart.number_heights(ax, matrix.label, log=log)
    if bare:
        chart.bare_chart(ax)
        return ax
    notes += matrix.legend("gaps", "hollow")
    handles = [chart.named(name, look) for name, look in styles.items()]
    chart.explained(ax, handles, titled(title, matrix.title), [*notes, *matrix.counted])
    return ax


def _matrix(
    diff: Diff | pd.DataFrame, metric: str, by: By, stack: str | None, others: bool | None
) -> Matrix:
    if by not in ("component", "block", "layer"):
        hint = near(by, ("component", "block", "layer"))
        raise BadCall(f"by={by!r}: it is 'component', 'block' or 'layer'{hint}")
    plain = not isinstance(diff, Diff)
    if plain or by == "component":
        if by != "component":
            raise BadCall(f"by={by!r}: a plain matrix has its columns alone; draw a Diff")
        return chosen(renamed(matrix_of(diff, metric, stack=stack)), plain, others)
    assert isinstance(diff, Diff)
    blocks = matrix_of(diff, metric, columns="block", stack=stack)
    if by == "block":
        main: list[Hashable] = [name for name in ("attn", "mlp") if name in blocks.values]
        if others or not blocks.values[main].notna().to_numpy().any():
            main += [name for name in blocks.values if name not in main]
        return blocks.only(main)
    whole, floor = (
        whole_layers(diff, name, blocks.stack, blocks.values.index) for name in (metric, "snr")
    )
    values = whole.where(whole.abs() <= LARGEST).to_frame(_WHOLE)
    doubtful = doubts(floor.to_frame(_WHOLE), values)
    return replace(blocks, values=values, doubtful=doubtful)


def _tensors(diff: Diff, metric: str, matrix: Matrix, by: By) -> pd.DataFrame:
    """Return the tensors that the lines are of: layer, line, value."""
    column = by if by != "layer" else "block"
    rows = unfolded(diff)
    long = rows.diff.by("tensor", "stack", "layer", column, metrics=(metric,), param="weight")
    long = long[(long["stack"] == matrix.stack) & long["layer"].notna() & long[metric].notna()]
    long = long.assign(
        line=_WHOLE if by == "layer" else long[column],
        layer=np.array(rows.names(matrix.stack, long["layer"]), object),
    )
    return long[long["line"].isin([*matrix.values])]


def _bands(
    diff: Diff | pd.DataFrame,
    metric: str,
    by: By,
    matrix: Matrix,
    band: tuple[float, float] | None,
) -> tuple[dict[str, tuple[Array, Array]], str]:
    """Return the edges of each band by the name of its line, and what they are of."""
    if band is None:
        return {}, ""
    low, high = band
    if not 0 <= low < high <= 100:
        raise BadCall(f"band={band}: two percentiles from 0 to 100, the lower one first")
    share = f"{low:g}–{high:g} %"
    values = matrix.values
    if isinstance(diff, Diff):
        long = _tensors(diff, metric, matrix, by)
        several = long.groupby(["line", "layer"]).size()
        if len(several) and several.median() > 1:
            edges = {
                str(name): tuple(
                    part.groupby("layer")[metric]
                    .quantile(q / 100)
                    .astype(float)
                    .reindex(values.index)
                    .to_numpy()
                    for q in (low, high)
                )
                for name, part in long.groupby("line")
            }
            return edges, f"band: {share} of the tensors of each line"  # type: ignore[return-value]
    if values.shape[1] < 3:
        return {}, ""
    edge = [values.quantile(q / 100, axis=1).to_numpy() for q in (low, high)]
    return {"": (edge[0], edge[1])}, f"grey band: {share} of the layer's lines"


def _noise(
    diff: Diff | pd.DataFrame, metric: str, by: By, matrix: Matrix
) -> tuple[str, Array] | None:
    """Return what noise alone gives in each layer, and what that is called."""
    if not isinstance(diff, Diff) or METRICS[metric].expected is None:
        return None
    rows = unfolded(diff)
    frame = rows.diff.frame.assign(noise=diff.expected(metric))
    here = frame["status"].isin(MOVED) & (frame["param"] == "weight") & frame["noise"].notna()
    here &= frame["stack"] == matrix.stack
    if by != "layer":
        here &= frame[by].isin([*matrix.values])
    found = frame[here].groupby("layer")["noise"].median().astype(float)
    found.index = pd.Index(rows.names(matrix.stack, found.index))
    found = found.reindex(matrix.values.index)
    if not found.notna().any():
        return None
    rounding = "precision_floor" in METRICS[metric].null
    return "precision floor" if rounding else "what noise gives", found.to_numpy()


def _line(ax: Axes, x: Array, y: Array, doubtful: Array, look: Look) -> None:
    """Draw a line that breaks at gaps; lone points are dots, doubtful ones are hollow."""
    there = np.isfinite(y)
    around = np.concatenate([[False], there, [False]])
    beside = around[:-2] | around[2:]
    lone = there & ~beside & ~doubtful
    if doubtful.any():
        ax.plot(
            x[doubtful],
            y[doubtful],
            linestyle="none",
            marker="o",
            markersize=3.6,
            markerfacecolor="white",
            markeredgecolor=look.colour,
            markeredgewidth=0.8,
            gid=FLOOR,
            zorder=3,
        )
    if lone.any():
        ax.plot(x[lone], y[lone], color=look.colour, linestyle="none", marker="o", markersize=3)
    ax.plot(x, y, color=look.colour, linestyle=look.dashes, linewidth=1.3, zorder=2.5)


def _trends(ax: Axes, findings: Iterable[Finding], matrix: Matrix, styles: dict[str, Look]) -> None:
    """Draw the Theil-Sen line of each depth trend: its slope is the finding's, in logarithms."""
    trends = [
        trend
        for one in findings
        if one.rule == "depth-trend" and one.evidence.get("stack", "") == matrix.stack
        for trend in one.evidence["trends"]
        if trend["component"] in matrix.values
    ]
    for trend in trends:
        name = str(trend["component"])
        column = matrix.values[name].to_numpy()
        there = np.flatnonzero(column > 0)
        if len(there) < 2:
            continue
        depth = np.arange(len(there))
        slope = math.log1p(trend["percent"] / 100) / max(1, trend["layers"] - 1)
        level = np.median(np.log(column[there]) - slope * depth)
        ax.plot(
            there,
            np.exp(level + slope * depth),
            color=styles[name].colour,
            linewidth=2.6,
            alpha=0.45,
            gid=chart.TREND,
            label=f"trend of {name}",
        )


def _draw_noise(ax: Axes, null: tuple[str, Array] | None, data: list[Array], *, log: bool) -> str:
    """Draw what noise gives where there is room for it and the data; return the note."""
    if null is None:
        return ""
    name, level = null
    alone, both = chart.heights(data, log=log), chart.heights([*data, level], log=log)
    spans = [math.log(b / a) if log else b - a for a, b in (alone, both)]
    if spans[0] < _LEAST_SHARE * spans[1]:
        side = "below" if both[0] < alone[0] else "above"
        return f"{name}: {np.nanmedian(level):.2g}, {side} the axis"
    x = np.arange(len(level))
    ax.plot(x, level, color=FAINT, linewidth=0.9, linestyle=(0, (1, 1.5)), gid=chart.NOISE)
    ax.lines[-1].set_label(name)
    return f"dotted: {name}"


def _drawn(ax: Axes, gid: str) -> list[Array]:
    return [np.asarray(line.get_ydata(), float) for line in ax.lines if line.get_gid() == gid]
