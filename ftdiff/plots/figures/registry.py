"""Every kind of figure of a diff or a matrix by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from matplotlib.axes import Axes

from ftdiff.plots.charts.energy import energy
from ftdiff.plots.charts.heads import heads
from ftdiff.plots.charts.profile import profile
from ftdiff.plots.charts.scatter import scatter
from ftdiff.plots.charts.spectrum import spectrum
from ftdiff.plots.charts.strips import strips
from ftdiff.plots.elements.options import check
from ftdiff.plots.heatmaps import STYLES
from ftdiff.registry import Registry

D = TypeVar("D")

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


def draw_as(
    style: str, function: Callable[..., D], data: Any, metric: str | None = None, **options: Any
) -> D:
    """Call a figure's function, once all options are known to be its own.

    Raises
    ------
    UnknownName
        An option is none of the function's.
    """
    check(style, function, options)
    return function(data, *([] if metric is None else [metric]), **options)
