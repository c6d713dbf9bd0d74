"""The map of full module names, most first, with a strip for the whole layer beside it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, near
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.colours import LARGEST, scale_of
from ftdiff.plots.elements.labels import distinct
from ftdiff.plots.elements.options import check
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.plots.elements.titles import Title, titled
from ftdiff.plots.heatmaps.matrix import Matrix, default_metric, matrix_of, whole_layers
from ftdiff.plots.heatmaps.modules import still_map

Normalise = Literal["max", "column", "rank", "none"]
_NAMED = {"max": ", largest = 1", "column": " ÷ column's largest", "rank": ", rank", "none": ""}
# What a plain matrix calls its column for the whole layer.
_WHOLE = ("whole layer", "layer")


def importance(
    diff: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    ax: Axes | None = None,
    stack: str | None = None,
    normalise: Normalise = "max",
    vmax: float | None = None,
    cmap: Colormap | str = "GnBu",
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw layers × modules from white to blue, the modules sorted by descending mean.

    Parameters
    ----------
    diff, metric, ax
        As for `heatmap`. The first strip is the metric of all weights of the layer together; in a
        plain matrix it is the column "layer" or "whole layer", and absent without one.
    stack
        Which tower of a model with several; by default the one that moved most parameters.
    normalise
        "max" divides by the largest cell, "column" each column by its own, "rank" gives the share
        of cells that are smaller, "none" keeps the numbers. The strip is always taken by itself.
    vmax
        The number at the dark end, instead of the largest cell, where "max" or "none" is drawn.
    title, bare
        Text above, by default what was compared with what, False for none; whether to leave out all
        text but the colour bar's numbers.
    cmap, **seaborn
        Other colours; options of `seaborn.heatmap`, as for the style "modules".

    Raises
    ------
    UnknownName, BadCall
        As for `heatmap`.
    """
    if normalise not in _NAMED:
        known = ", ".join(map(repr, _NAMED))
        raise BadCall(f"normalise={normalise!r}: it is one of {known}{near(normalise, _NAMED)}")
    check("importance", importance, seaborn)
    metric = default_metric(diff) if metric is None else metric
    matrix = matrix_of(diff, metric, columns="module", stack=stack)
    if matrix.still:
        return still_map(ax, matrix, title, bare=bare)
    matrix, strip = _split(matrix, diff, metric)
    order = matrix.values.mean().sort_values(ascending=False, kind="stable", na_position="last")
    matrix = matrix.only(list(order.index))
    if vmax is not None and (normalise not in ("max", "none") or not 0 < vmax <= LARGEST):
        raise BadCall(f"vmax={vmax:g}: a positive number, for normalise 'max' or 'none'")
    values = _normalised(matrix.values, normalise, vmax)
    largest = float(np.nanmax(values.to_numpy())) if vmax is None else vmax
    top = largest if normalise == "none" and largest > 0 else 1.0
    scale = scale_of(values.to_numpy(), cmap, vmin=0.0, vmax=top, ticks=(0.0, top))
    if ax is None:
        ax = canvas.new_axes(values, strip=2 if strip is not None else 0)
    named = _NAMED[normalise] if vmax is None or normalise == "none" else f" ÷ {vmax:.3g}"
    cells.paint(ax, values, scale, matrix.label + named, bare=bare, **seaborn)
    cells.hatch(ax, matrix.doubtful)
    names, at = [*values], [j + 0.5 for j in range(values.shape[1])]
    if strip is not None:
        centre = cells.strip(ax, _normalised(strip.to_frame(), normalise), scale)
        names, at = ["whole layer", *names], [centre, *at]
    if bare:
        ax.set(xticks=[], yticks=[])
        return ax
    width, height = canvas.cell_points(ax, len(values), len(names))
    canvas.label_columns(ax, at, distinct(names), width)
    ticks = layer_ticks(len(values), canvas.rows_apart(height), steps=(2,), last=False)
    canvas.label_rows(ax, ticks, [values.index[row] for row in ticks])
    notes = [*matrix.legend(), *matrix.counted]
    canvas.caption(ax, titled(title, matrix.title), notes)
    return ax


def _split(
    matrix: Matrix, diff: Diff | pd.DataFrame, metric: str
) -> tuple[Matrix, pd.Series[float] | None]:
    """Part the modules from the strip of the whole layer."""
    if isinstance(diff, Diff):
        return matrix, whole_layers(diff, metric, matrix.stack, matrix.values.index)
    names = list(matrix.values)
    whole = next((name for name in names if str(name).strip().lower() in _WHOLE), None)
    rest = [name for name in names if name != whole]
    if whole is None or not matrix.values[rest].notna().to_numpy().any():
        return matrix, None
    return matrix.only(rest), matrix.values[whole]


def _normalised(
    values: pd.DataFrame, normalise: Normalise, vmax: float | None = None
) -> pd.DataFrame:
    if normalise == "rank":
        array = values.to_numpy()
        ranks = pd.Series(array.ravel()).rank() - 1
        shares = ranks / max(1, int(ranks.notna().sum()) - 1)
        return pd.DataFrame(shares.to_numpy().reshape(array.shape), values.index, values.columns)
    if normalise == "column":
        largest = values.max()
        return values.div(largest.where(largest > 0, 1.0), axis=1)
    largest_cell = float(values.max().max()) if vmax is None else vmax
    return values / largest_cell if normalise == "max" and largest_cell > 0 else values
