"""Every kind of figure by its name, and one door to draw any of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ftdiff.comparison.result import Diff
from ftdiff.plots.charts.energy import energy
from ftdiff.plots.charts.heads import heads
from ftdiff.plots.charts.profile import profile
from ftdiff.plots.charts.scatter import scatter
from ftdiff.plots.charts.spectrum import spectrum
from ftdiff.plots.charts.strips import strips
from ftdiff.plots.heatmaps import STYLES
from ftdiff.registry import Registry

#: The styles of a heatmap, and the figures that are none.
FIGURES: Registry[Callable[..., Axes]] = Registry(
    "figure",
    {
        **STYLES,
        "profile": profile,
        "scatter": scatter,
        "spectrum": spectrum,
        "energy": energy,
        "heads": heads,
        "strips": strips,
    },
)


def draw(
    diff: Diff | pd.DataFrame,
    metric: str | None = None,
    *,
    style: str = "modules",
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw a diff, or a plain matrix, as a figure of any kind.

    Parameters
    ----------
    diff
        What the figure draws.
    metric
        A metric's name; by default the figure's own.
    style
        A name of `FIGURES`: a style of the heatmap, "profile", "scatter", "spectrum", "energy",
        "heads" or "strips".
    ax, **options
        As the figure's function takes them.

    Raises
    ------
    UnknownName
        No figure, metric or option of the figure has that name.
    BadCall
        An option that does not fit, or nothing to draw.
    """
    function = FIGURES[style]
    known = Registry(f"option of style {style!r}", inspect.signature(function).parameters)
    for option in options:
        known[option]
    return function(diff, *([] if metric is None else [metric]), ax=ax, **options)
