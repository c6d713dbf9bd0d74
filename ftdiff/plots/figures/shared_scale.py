"""One scale for several maps, each drawn by itself or all in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from ftdiff.comparison.colour_rule import rule_of
from ftdiff.comparison.result import Diff
from ftdiff.comparison.shown_metric import ABSOLUTE
from ftdiff.comparison.stack_names import stacks_of
from ftdiff.errors import BadCall
from ftdiff.plots.elements.cells import mesh_of, values_of
from ftdiff.plots.elements.options import options_of
from ftdiff.plots.figures.registry import FIGURES, draw_as
from ftdiff.plots.heatmaps.matrix import default_metric


def limits(
    diffs: Sequence[Diff | pd.DataFrame],
    metric: str | None = None,
    *,
    style: str = "modules",
    **options: Any,
) -> dict[str, float]:
    """Return the options that put several maps on one scale.

    Parameters
    ----------
    diffs
        What is to be drawn, each by itself or in one figure.
    metric, style, **options
        As for `heatmap`; `robust` takes the percentiles of each.

    Returns
    -------
    dict
        `vmin`, `vmax` and `center` as far as the style takes them, so that
        ``heatmap(diff, metric, **limits(diffs, metric))`` shows one number in one colour.

    Raises
    ------
    UnknownName, BadCall
        As for `heatmap`; or there is nothing to draw, or the figure has no scale of colours.
    """
    taken = options_of(FIGURES[style])
    if "vmax" not in taken:
        raise BadCall(f"style {style!r} has no scale of colours to share")
    if not len(diffs):
        raise BadCall("one scale of several figures needs at least one diff")
    if style == "importance" and options.get("normalise", "max") in ("max", "none"):
        options = {**options, "normalise": "none"}
    metric = common_metric(diffs) if metric is None else metric
    drawn = unseen_maps(diffs, metric, style, options)
    if not drawn:
        raise BadCall("nothing to draw: nothing moved in any of them")
    ends = np.array([mesh.get_clim() for mesh in drawn], float)
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    joined = {"vmin": low, "vmax": high}
    white = _white(metric, drawn, options, (low + high) / 2)
    if white is not None:
        joined["center"] = white
    if options.get("difference"):
        del joined["vmin"]
    return {name: float(value) for name, value in joined.items() if name in taken}


def common_metric(diffs: Sequence[Diff | pd.DataFrame]) -> str:
    """Return what is drawn of all where no metric is named."""
    own = {default_metric(one) for one in diffs}
    return own.pop() if len(own) == 1 else ABSOLUTE


def unseen_maps(
    diffs: Sequence[Diff | pd.DataFrame], metric: str, style: str, options: Mapping[str, Any]
) -> list[QuadMesh]:
    """Draw each where nobody sees it; return the cells of those that have some."""
    bare = {**options, "bare": True}
    function = FIGURES[style]
    axes = [
        draw_as(style, function, one, metric, ax=_unseen(), **bare, **own)
        for one in diffs
        for own in _stacks(one, diffs, style, options)
    ]
    return [mesh_of(ax) for ax in axes if ax.collections]


def _white(
    metric: str, drawn: Sequence[QuadMesh], options: Mapping[str, Any], middle: float
) -> float | None:
    """Return the number that is white on a scale of several maps; None for one without white."""
    if "center" in options or options.get("normalise") in ("component", "row"):
        return float(options.get("center", 1.0))
    rule = rule_of(metric, np.concatenate([values_of(mesh).ravel() for mesh in drawn]))
    if rule.sequential or options.get("cmap") is not None:
        return None
    return middle if rule.white is None else rule.white


def _unseen() -> Axes:
    """Return Axes that no notebook shows: their limits are all that is wanted."""
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _stacks(
    one: Diff | pd.DataFrame,
    diffs: Sequence[Diff | pd.DataFrame],
    style: str,
    options: Mapping[str, Any],
) -> list[dict[str, str]]:
    """Return the option that chooses each stack that is drawn of a diff."""
    if isinstance(one, Diff) and of_towers(diffs, style, options):
        return [{"stack": stack} for stack in stacks_of(one)]
    return [{}]


def of_towers(diffs: Sequence[Diff | pd.DataFrame], style: str, options: Mapping[str, Any]) -> bool:
    """Say whether these are models of several stacks, of which none is chosen."""
    if style != "modules" or options.get("stack") is not None:
        return False
    stacks = [stacks_of(one) if isinstance(one, Diff) else {} for one in diffs]
    return all(stacks) and any(len(found) > 1 for found in stacks)
