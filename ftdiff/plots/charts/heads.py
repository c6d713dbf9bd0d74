"""Attention heads: a map of layers × heads for each projection, side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.comparison.cells import stacks
from ftdiff.comparison.frame import of_frame
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS
from ftdiff.naming import component_order
from ftdiff.plots.charts.axes import WIDTH
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.axes import FONT, INK
from ftdiff.plots.elements.colours import narrowness
from ftdiff.plots.elements.labels import label_of, shown
from ftdiff.plots.elements.options import check
from ftdiff.plots.elements.rules import scale_for
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.plots.heatmaps.matrix import (
    Matrix,
    bounded,
    choose_stack,
    default_metric,
    doubts,
    filled,
)
from ftdiff.registry import Registry

#: The gid of the lines between projections.
BETWEEN = "between-projections"


def heads(
    diff: Diff,
    metric: str | None = None,
    *,
    ax: Axes | None = None,
    component: str | None = None,
    stack: str | None = None,
    center: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    cmap: Colormap | str | None = None,
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw layers × heads in blue, white and orange: q, k, v and o side by side.

    Parameters
    ----------
    diff
        What `ftdiff.parts.heads` returns. Query heads are counted by `head`, keys' and values' by
        `kv_head`.
    metric, ax
        As for `heatmap`; the metric is one of sums.
    component
        Only this projection, with its heads numbered.
    stack, center, vmin, vmax, robust, cmap, title, bare, **seaborn
        As for the style "modules".

    Raises
    ------
    UnknownName
        The diff has no such metric, projection or stack.
    BadCall
        The diff has no heads, or none moved.
    """
    check("heads", heads, seaborn)
    metric = default_metric(diff) if metric is None else metric
    matrix, sizes = head_matrix(diff, metric, component, stack)
    values = matrix.values
    limits = {"vmin": vmin, "vmax": vmax, "center": center}
    scale = scale_for(metric, values.to_numpy(), cmap=cmap, robust=robust, **limits)
    rows, columns = values.shape
    if ax is None:
        height = max(1.9, min(0.9 + canvas.row_height(rows) * rows, 13.5))
        ax = canvas.new_figure((WIDTH, height)).add_subplot()
    cells.paint(ax, values, scale, matrix.label, bare=bare, **seaborn)
    cells.hatch(ax, matrix.doubtful)
    ends = pd.Series(sizes).cumsum()
    for end in ends[:-1]:
        ax.axvline(end, color="white", linewidth=2.4, gid=BETWEEN)
        ax.axvline(end, color=INK, linewidth=0.6, gid=BETWEEN)
    if bare:
        ax.set(xticks=[], yticks=[])
        return ax
    width, height = canvas.cell_points(ax, rows, columns)
    if len(sizes) == 1:
        canvas.label_columns(ax, [j + 0.5 for j in range(columns)], range(columns), width)
    else:
        texts = [f"{shown(name).removeprefix('attn.')}\n({size})" for name, size in sizes.items()]
        middles = [end - size / 2 for end, size in zip(ends, sizes.values(), strict=True)]
        ax.set_xticks(middles, texts, fontsize=FONT, parse_math=False)
        ax.tick_params(axis="x", length=0, pad=3, colors=INK)
    ticks = layer_ticks(rows, canvas.rows_apart(height))
    canvas.label_rows(ax, ticks, [values.index[row] for row in ticks])
    array = values.to_numpy()
    notes = [narrowness(array, scale), "a column for each head", *matrix.legend()]
    one = label_of(next(iter(sizes))) if len(sizes) == 1 else ""
    over = own_title(diff.about, *([one] if one else []), matrix.title)
    canvas.caption(ax, titled(title, over), [note for note in notes if note])
    return ax


def head_matrix(
    diff: Diff, metric: str, component: str | None = None, stack: str | None = None
) -> tuple[Matrix, dict[str, int]]:
    """Return layers × heads, columns as (component, head), and how many heads each one has."""
    if not isinstance(diff, Diff) or "kv_head" not in diff.frame:
        raise BadCall("this diff has no heads: draw what `ftdiff parts --by head` measured")
    _of_sums(metric)
    wanted = tuple(dict.fromkeys((metric, "snr")))
    keys = ("stack", "layer", "component", "head", "kv_head")
    long = diff.by(*keys, metrics=wanted, param="weight")
    keyed = long["component"].astype("string").str.rsplit("_").str[-1].str.rsplit(".").str[-1]
    long["place"] = long["head"].where(~keyed.isin(["k", "v"]), long["kv_head"])
    cut = long.dropna(subset=["layer", "place"])
    if cut.empty:
        raise BadCall("nothing to draw: no projection of this diff was cut into heads")
    chosen, title, notes = choose_stack(stacks(of_frame(cut)), stack)
    cut = cut[cut["stack"] == chosen]
    names = component_order(cut["component"].unique())
    if component is not None:
        Registry("projection with heads", dict.fromkeys(names))[component]
        names = [component]
    cut = cut[cut["component"].isin(names)]
    sizes = {str(n): int(cut.loc[cut["component"] == n, "place"].max()) + 1 for n in names}
    columns = [(name, place) for name, size in sizes.items() for place in range(size)]
    wide = {
        name: filled(
            cut.pivot(index="layer", columns=["component", "place"], values=name).astype(float)
        ).reindex(columns=pd.MultiIndex.from_tuples(columns))
        for name in wanted
    }
    for table in wide.values():
        table.columns = pd.Index([f"{shown(name)} {place}" for name, place in columns])
    uncut = len(diff.about.get("uncut", {}))
    notes += (f"{uncut} projections not cut",) if uncut else ()
    doubtful = doubts(wide["snr"], wide[metric])
    matrix = bounded(Matrix(wide[metric], METRICS[metric].label, doubtful, chosen, title, notes))
    if not matrix.values.notna().to_numpy().any():
        raise BadCall(f"nothing to draw: {metric} has no value in any head")
    return matrix, sizes


def _of_sums(metric: str) -> None:
    if METRICS[metric].needs != "sums":
        raise BadCall(f"{metric} does not come from sums, so parts of tensors have none")
