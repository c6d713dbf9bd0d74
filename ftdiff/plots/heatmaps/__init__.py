"""The published kinds of heatmap, one file each."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from ftdiff.plots.heatmaps import importance, modules, tokens
from ftdiff.registry import Registry

#: A style takes a diff or a matrix, a metric, and its own options by keyword.
Style = Callable[..., Axes]

STYLES: Registry[Style] = Registry(
    "style",
    {
        "modules": modules.modules,
        "importance": importance.importance,
        "tokens": tokens.tokens,
    },
)
