"""The front door of the room: a diff or a matrix, a metric and a style become Axes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ftdiff.comparison.result import Diff
from ftdiff.plots.elements.options import check
from ftdiff.plots.heatmaps import STYLES


def heatmap(
    diff: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    ax: Axes | None = None,
    style: str = "modules",
    **style_options: Any,
) -> Axes:
    """Draw one metric as a map of layers × components (or tokens).

    Parameters
    ----------
    diff
        A diff, or a plain matrix of numbers: rows layers, columns components or tokens.
    metric
        A metric's name; by default the relative norm, or where a diff has none (without a base)
        one that has values. For a plain matrix, any text: it names the colour bar.
    ax
        Where to draw; by default a figure of its own, sized to the matrix. A notebook shows it
        below the cell; elsewhere pyplot does not know it, and `plots.save` writes it.
    style
        "modules", "importance" or "tokens"; each is a function in `ftdiff.plots.heatmaps`.
    **style_options
        Options of that function.

    Returns
    -------
    Axes
        What was drawn on; the cells are `ax.collections[0]`, and their `colorbar` is its colour
        bar.

    Raises
    ------
    UnknownName
        No metric, style, option of the style, or stack has that name.
    BadCall
        An option that does not fit, or nothing to draw.
    """
    draw = STYLES[style]
    check(style, draw, style_options)
    given = () if metric is None else (metric,)
    return draw(diff, *given, ax=ax, **style_options)
