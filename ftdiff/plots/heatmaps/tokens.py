"""The map of layers × token positions that probing papers publish, layer 0 at the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS
from ftdiff.naming.token_text import readable
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.colours import BLUE_WHITE_ORANGE, Scale, scale_of
from ftdiff.plots.elements.labels import distinct
from ftdiff.plots.elements.options import check
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.plots.elements.titles import Title, titled
from ftdiff.plots.heatmaps.matrix import matrix_of
from ftdiff.tensors import Array


def tokens(
    diff: Diff | pd.DataFrame,
    metric: str = "",
    *,
    ax: Axes | None = None,
    difference: bool = False,
    chance: pd.DataFrame | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw a matrix of layers × tokens in shades of blue from 0.5 to 1, columns as they come.

    Parameters
    ----------
    diff, ax
        A plain matrix (a diff of weights has no tokens), and where to draw. A token may be there
        more than once.
    metric
        What the numbers are, for the colour bar: "probe AUC".
    difference
        The numbers are differences: blue, white and orange about 0, as far on either side.
    chance
        bool, with the matrix's rows and columns (in its order where a token is there more than
        once): cells that cannot be told from chance are grey.
    vmin, vmax
        Limits, by default 0.5 and 1; of a difference, `vmax` is the limit on both sides.
    cmap, **seaborn
        Other colours; options of `seaborn.heatmap`, as for the style "modules".
    title, bare
        Text above; whether to leave out all text but the colour bar's numbers.

    Raises
    ------
    BadCall
        A diff was given, or nothing to draw, or `chance` does not fit.
    """
    if isinstance(diff, Diff):
        raise BadCall("style 'tokens' draws a matrix of layers × tokens; a diff has no tokens")
    if not isinstance(diff, pd.DataFrame):
        raise BadCall(f"style 'tokens' draws a DataFrame, this is {type(diff).__name__}")
    check("tokens", tokens, seaborn)
    label = "" if metric in METRICS else metric
    names = [*diff.columns]
    texts = readable(map(str, names))
    # told apart by their numbers: a token comes more than once
    matrix = matrix_of(diff.set_axis(range(len(names)), axis=1), label)
    values = matrix.values
    scale = _scale(values.to_numpy(), difference, vmin, vmax, cmap)
    if ax is None:
        ax = canvas.new_axes(values.set_axis(texts, axis=1))
    cells.paint(ax, values, scale, matrix.label, bare=bare, **seaborn)
    ax.set_ylim(len(values), 0)
    notes = matrix.legend()
    if chance is not None:
        cells.grey(ax, _fitting(chance, values, names))
        notes.append("dark grey: not told from chance")
    if bare:
        ax.set(xticks=[], yticks=[])
        return ax
    rows, columns = values.shape
    width, height = canvas.cell_points(ax, rows, columns)
    canvas.label_columns(
        ax,
        [j + 0.5 for j in range(columns)],
        distinct(texts) if len({*texts}) == len({*names}) else texts,
        width,
    )
    ticks = layer_ticks(rows, canvas.rows_apart(height))
    canvas.label_rows(ax, ticks, [values.index[row] for row in ticks])
    canvas.caption(ax, titled(title, ""), notes)
    return ax


def _scale(
    array: Array,
    difference: bool,
    vmin: float | None,
    vmax: float | None,
    cmap: Colormap | str | None,
) -> Scale:
    if not difference:
        low, high = 0.5 if vmin is None else vmin, 1.0 if vmax is None else vmax
        return scale_of(array, cmap or "Blues", vmin=low, vmax=high)
    if vmin is not None:
        raise BadCall(f"vmin={vmin:g}: a difference has one limit on both sides, vmax")
    reach = float(np.nanmax(np.abs(array))) if vmax is None else vmax
    reach = reach or 1.0
    return scale_of(array, cmap or BLUE_WHITE_ORANGE, vmin=-reach, vmax=reach, center=0.0)


def _fitting(chance: pd.DataFrame, values: pd.DataFrame, names: Sequence[object]) -> pd.DataFrame:
    if not isinstance(chance, pd.DataFrame) or {*chance.index} != {*values.index}:
        raise BadCall("chance: a DataFrame of the matrix's own rows and columns")
    if sorted(map(repr, chance.columns)) != sorted(map(repr, names)):
        raise BadCall("chance: its columns are not the matrix's")
    if [*chance.columns] != [*names]:
        if len({*names}) < len(names):
            raise BadCall(
                "chance: a token is there more than once, and its columns are in another order"
            )
        chance = chance[[*names]]
    there = chance.set_axis(values.columns, axis=1).loc[values.index].astype(bool)
    return there & values.notna()
