"""The map that model makers publish: projections side by side, layer 0 at the bottom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, near
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.colours import middle, narrowness, scale_of
from ftdiff.plots.elements.labels import label_of
from ftdiff.plots.elements.outlines import Outlined
from ftdiff.plots.elements.outlines import outline as frame_cells
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.plots.heatmaps.columns import chosen, renamed
from ftdiff.plots.heatmaps.matrix import matrix_of

Normalise = Literal["component", "row", "none"]


def modules(
    diff: Diff | pd.DataFrame,
    metric: str = "relative_norm",
    *,
    ax: Axes | None = None,
    stack: str | None = None,
    others: bool | None = None,
    normalise: Normalise = "none",
    center: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    outline: Iterable[Outlined] = (),
    title: str | None = None,
    bare: bool = False,
) -> Axes:
    """Draw layers × projections in blue, white and orange.

    Parameters
    ----------
    diff, metric, ax
        As for `heatmap`.
    stack
        Which tower of a model with several; by default the one that moved most parameters.
    others
        Whether other components follow the projections. By default they do in a plain matrix, and
        where a model has no such projections or none of them moved.
    normalise
        "component" divides each column by its mean, "row" each layer, so that one of them does not
        wash out the rest; white is then 1.
    center, vmin, vmax
        The number that is white (by default the middle of the limits), and the limits: give the
        same to several figures to share one scale.
    robust
        Limits at the 2nd and 98th percentiles; what is beyond shows as arrows on the colour bar.
        Without it the data's ends, but for a few outlying cells, whose numbers are in them.
    outline
        Cells to frame, as (layer, component), or findings: the cells that they speak of, as far as
        they are on the map.
    title
        Text above; by default the stack's name where there are several.
    bare
        Leave out all text but the colour bar's numbers.

    Raises
    ------
    UnknownName, BadCall
        As for `heatmap`.
    """
    matrix = renamed(matrix_of(diff, metric, stack=stack))
    matrix = chosen(matrix, isinstance(diff, pd.DataFrame), others)
    values, label = _normalised(matrix.values, matrix.label, normalise)
    if center is None and normalise != "none":
        center = 1.0
    array = values.to_numpy()
    scale = scale_of(array, vmin=vmin, vmax=vmax, center=center, robust=robust)
    if ax is None:
        ax = canvas.new_axes(values)
    cells.paint(ax, values, scale, label, bare=bare)
    cells.hatch(ax, matrix.doubtful)
    far = cells.beyond(ax, values, scale)
    frame_cells(ax, values, outline, matrix.stack)
    if bare:
        ax.set(xticks=[], yticks=[])
        return ax
    _name_cells(ax, values)
    notes = [narrowness(array, scale) or middle(scale, center), *far, *matrix.legend()]
    canvas.caption(ax, matrix.title if title is None else title, [n for n in notes if n])
    return ax


def _normalised(values: pd.DataFrame, label: str, normalise: Normalise) -> tuple[pd.DataFrame, str]:
    """Divide by the mean size of each column or row; all zeros stay zeros."""
    if normalise == "none":
        return values, label
    if normalise == "component":
        means = values.abs().mean(axis=0)
        return values.div(means.where(means > 0, 1.0), axis=1), f"{label} ÷ component's mean"
    if normalise == "row":
        means = values.abs().mean(axis=1)
        return values.div(means.where(means > 0, 1.0), axis=0), f"{label} ÷ layer's mean"
    raise BadCall(
        f"normalise={normalise!r}: it is 'component', 'row' or 'none'"
        f"{near(normalise, ('component', 'row', 'none'))}"
    )


def _name_cells(ax: Axes, values: pd.DataFrame) -> None:
    rows, columns = values.shape
    width, height = canvas.cell_points(ax, rows, columns)
    middles = [j + 0.5 for j in range(columns)]
    canvas.label_columns(ax, middles, [label_of(name) for name in values], width)
    ticks = layer_ticks(rows, canvas.rows_apart(height))
    canvas.label_rows(ax, ticks, [values.index[row] for row in ticks])
