"""One door to draw any result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.analyses.drift import Drift
from ftdiff.analyses.lineage_result import Lineage
from ftdiff.analyses.merges import MergeOf
from ftdiff.analyses.probing import Probe
from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.result import Diff
from ftdiff.comparison.stack_names import stacks_of
from ftdiff.plots.figures.drift import drift, drift_parts
from ftdiff.plots.figures.lineage import lineage
from ftdiff.plots.figures.merge_of import merge_of
from ftdiff.plots.figures.probing import probe
from ftdiff.plots.figures.registry import FIGURES, draw_as
from ftdiff.plots.figures.similarity import similarities, similarity
from ftdiff.plots.figures.towers import towers
from ftdiff.plots.figures.trajectory import courses, trajectory
from ftdiff.registry import Registry

#: The figures of results that are no diff, the first of each its own.
OF_RUNS: Mapping[type, Registry[Callable[..., Any]]] = {
    Similarity: Registry("figure", {"similarity": similarity, "similarities": similarities}),
    Trajectory: Registry("figure", {"trajectory": trajectory, "courses": courses}),
    Probe: Registry("figure", {"probe": probe}),
    Drift: Registry("figure", {"drift": drift, "drift_parts": drift_parts}),
    Lineage: Registry("figure", {"lineage": lineage}),
    MergeOf: Registry("figure", {"merge_of": merge_of}),
}


def figures_of(data: object) -> Registry[Callable[..., Any]]:
    """Return the figures that a result may be drawn as, its own first."""
    return OF_RUNS.get(type(data), FIGURES)


def draw(
    data: Diff | pd.DataFrame | Similarity | Trajectory | Probe | Drift | Lineage | MergeOf,
    metric: str | None = None,
    *,
    style: str | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes | Figure:
    """Draw a result, or a plain matrix, as a figure of any kind.

    Parameters
    ----------
    data
        What the figure draws.
    metric
        A metric's name, or a number of the result's; by default the figure's own.
    style
        Of a diff or a matrix a name of `FIGURES`: a style of the heatmap ("modules" by default: of
        a diff of several stacks one map for each, see `towers`),
        "profile", "scatter", "spectrum", "energy", "heads" or "strips". Of a similarity
        "similarity" or "similarities" (by component), of a trajectory "trajectory" or "courses", of
        a probe "probe", of a drift "drift" or "drift_parts", of a lineage "lineage", of a merge
        "merge_of" (the metric is then a parent).
    ax, **options
        As the figure's function takes them.

    Raises
    ------
    UnknownName
        No figure, metric or option of the figure has that name.
    BadCall
        An option that does not fit, or nothing to draw.
    """
    figures = figures_of(data)
    name = next(iter(figures)) if style is None else style
    if name == "modules" and isinstance(data, Diff) and ax is None and options.get("stack") is None:
        options = {key: value for key, value in options.items() if key != "stack"}
        if len(stacks_of(data)) > 1:
            return draw_as(name, towers, data, metric, **options)
    given = options if ax is None else {**options, "ax": ax}
    drawn: Axes | Figure = draw_as(name, figures[name], data, metric, **given)
    return drawn
