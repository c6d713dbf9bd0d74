"""One door to draw any result: a diff, a matrix, a similarity or a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.analyses.similarity import Similarity
from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.result import Diff
from ftdiff.plots.figures.registry import FIGURES, draw_as
from ftdiff.plots.figures.similarity import similarities, similarity
from ftdiff.plots.figures.trajectory import courses, trajectory
from ftdiff.registry import Registry

#: The figures of a similarity and of a trajectory, the first of each its own.
OF_RUNS: Mapping[type, Registry[Callable[..., Any]]] = {
    Similarity: Registry("figure", {"similarity": similarity, "similarities": similarities}),
    Trajectory: Registry("figure", {"trajectory": trajectory, "courses": courses}),
}


def figures_of(data: object) -> Registry[Callable[..., Any]]:
    """Return the figures that a result may be drawn as, its own first."""
    return OF_RUNS.get(type(data), FIGURES)


def draw(
    data: Diff | pd.DataFrame | Similarity | Trajectory,
    metric: str | None = None,
    *,
    style: str | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes | Figure:
    """Draw a diff, a plain matrix, a similarity or a trajectory, as a figure of any kind.

    Parameters
    ----------
    data
        What the figure draws.
    metric
        A metric's name, or a number of pairs or checkpoints; by default the figure's own.
    style
        Of a diff or a matrix a name of `FIGURES`: a style of the heatmap ("modules" by default),
        "profile", "scatter", "spectrum", "energy", "heads" or "strips". Of a similarity
        "similarity" or "similarities" (by component), of a trajectory "trajectory" or "courses".
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
    given = options if ax is None else {**options, "ax": ax}
    drawn: Axes | Figure = draw_as(name, figures[name], data, metric, **given)
    return drawn
