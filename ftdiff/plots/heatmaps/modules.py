"""The map that model makers publish: projections side by side, layer 0 at the bottom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, near
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.colours import Scale, narrowness
from ftdiff.plots.elements.labels import column_labels
from ftdiff.plots.elements.options import check
from ftdiff.plots.elements.outlines import Outlined
from ftdiff.plots.elements.outlines import outline as frame_cells
from ftdiff.plots.elements.rules import scale_for
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.plots.elements.titles import Title, titled
from ftdiff.plots.heatmaps.columns import chosen, renamed
from ftdiff.plots.heatmaps.matrix import Matrix, default_metric, matrix_of

Normalise = Literal["component", "row", "none"]


def modules(
    diff: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    ax: Axes | None = None,
    stack: str | None = None,
    others: bool | None = None,
    normalise: Normalise = "none",
    center: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    robust: bool = False,
    annot: Any = False,
    outline: Iterable[Outlined] = (),
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
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
    cmap
        Other colours: "sequential", from pale to dark, or any of matplotlib's. By default shares
        and cosines that are all positive are sequential, and lift is white at 1, as ratios.
    robust
        Limits at the 2nd and 98th percentiles; what is beyond shows as arrows on the colour bar.
        Without it the data's ends, but for a few outlying cells, whose numbers are in them.
    annot
        Whether each cell holds its number, or what they hold instead, as seaborn takes it.
    outline
        Cells to frame, as (layer, component), or findings: the cells that they speak of, as far as
        they are on the map.
    title
        Text above; by default what was compared with what; False for none.
    bare
        Leave out all text but the colour bar's numbers.
    **seaborn
        Of `seaborn.heatmap`: `fmt`, `annot_kws`, `linewidths`, `cbar`, ….

    Raises
    ------
    UnknownName, BadCall
        As for `heatmap`.
    """
    check("modules", modules, seaborn)
    seaborn |= {"annot": annot}
    metric = default_metric(diff) if metric is None else metric
    matrix = matrix_of(diff, metric, stack=stack)
    matrix = prepared(matrix, isinstance(diff, pd.DataFrame), others, normalise)
    if matrix.still:
        return still_map(ax, matrix, title, bare=bare)
    if center is None and normalise != "none":
        center = 1.0
    limits = {"vmin": vmin, "vmax": vmax, "center": center}
    values = matrix.values
    scale = scale_for(rule_name(matrix, normalise), values.to_numpy(), cmap=cmap, robust=robust,
                      **limits)  # fmt: skip
    if ax is None:
        ax = canvas.new_axes(values, wide=bool(seaborn.get("annot", False) is not False))
    notes = draw_cells(ax, matrix, scale, outline, bare=bare, **seaborn)
    if bare:
        return ax
    name_cells(ax, values)
    canvas.caption(ax, titled(title, matrix.title), [*notes, *matrix.counted])
    return ax


def prepared(matrix: Matrix, plain: bool, others: bool | None, normalise: Normalise) -> Matrix:
    """Choose the columns of a map, and divide by means where that is asked for."""
    matrix = chosen(renamed(matrix), plain, others)
    values, label = _normalised(matrix.values, matrix.label, normalise)
    return replace(matrix, values=values, label=label)


def rule_name(matrix: Matrix, normalise: Normalise) -> str:
    """Return the metric by whose rule cells are coloured; means take its meaning away."""
    return matrix.metric if normalise == "none" else ""


def draw_cells(
    ax: Axes,
    matrix: Matrix,
    scale: Scale,
    outline: Iterable[Outlined] = (),
    *,
    bare: bool = False,
    **seaborn: Any,
) -> list[str]:
    """Draw cells and the marks upon them; return what a reader has to know."""
    values = matrix.values
    cells.paint(ax, values, scale, matrix.label, bare=bare, **seaborn)
    cells.hatch(ax, matrix.doubtful)
    far = [] if seaborn.get("annot", False) is not False else cells.beyond(ax, values, scale)
    frame_cells(ax, values, outline, matrix.stack)
    if bare:
        ax.set(xticks=[], yticks=[])
    narrow = narrowness(values.to_numpy(), scale)
    return [note for note in (narrow, *far, *matrix.legend()) if note]


def still_map(ax: Axes | None, matrix: Matrix, title: Title, *, bare: bool) -> Axes:
    """Say in the place of a map that nothing moved."""
    if ax is None:
        ax = canvas.new_figure((3.9, 1.3)).add_subplot()
    cells.say_still(ax, matrix.still)
    if not bare:
        canvas.caption(ax, titled(title, matrix.title), [*matrix.notes, *matrix.counted])
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


def name_cells(ax: Axes, values: pd.DataFrame, every: Iterable[object] = ()) -> None:
    """Name rows and columns; `every` holds the columns of all maps of the figure."""
    rows, columns = values.shape
    width, height = canvas.cell_points(ax, rows, columns)
    middles = [j + 0.5 for j in range(columns)]
    canvas.label_columns(ax, middles, column_labels([*values], every), width)
    named = any(isinstance(name, str) for name in values.index)
    ticks = layer_ticks(rows, canvas.rows_apart(height), named=named)
    canvas.label_rows(ax, ticks, [values.index[row] for row in ticks])
