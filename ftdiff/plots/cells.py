"""The coloured cells, their colour bar, and the marks upon them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection, QuadMesh
from matplotlib.patches import Rectangle

from ftdiff.errors import BadCall
from ftdiff.plots.canvas import FAINT, FONT, INK
from ftdiff.plots.scale import Scale, tick_texts

#: Marks a reader (or a test, or a style sheet) finds by their gid.
FLOOR, OUTLINE = "under-the-floor", "outlined"


def paint(ax: Axes, values: pd.DataFrame, scale: Scale, label: str, *, bare: bool) -> QuadMesh:
    """Draw the cells and their colour bar; row 0 is at the bottom, column j spans j to j + 1."""
    sns.heatmap(
        values,
        ax=ax,
        vmin=scale.vmin,
        vmax=scale.vmax,
        cmap=scale.cmap,
        mask=np.zeros(values.shape, bool),  # or seaborn leaves missing cells without their face
        linewidths=0.35,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
        cbar_kws={"extend": scale.extend, "pad": 0.03, "aspect": 34, "ticks": list(scale.ticks)},
    )
    ax.set(ylim=(0, len(values)), xlabel="", ylabel="")
    mesh = ax.collections[-1]
    assert isinstance(mesh, QuadMesh)
    bar = mesh.colorbar
    if bar is not None:
        bar.set_ticks(list(scale.ticks), labels=tick_texts(scale.ticks))
        bar.ax.tick_params(labelsize=FONT, length=2, width=0.6, colors=INK)
        bar.minorticks_off()
        bar.set_label("" if bare else label, fontsize=FONT, color=INK)
    return mesh


def hatch(ax: Axes, cells: pd.DataFrame) -> None:
    """Hatch the cells that are true."""
    squares = [Rectangle((x, y), 1, 1) for y, x in np.argwhere(cells.to_numpy(bool)).tolist()]
    if squares:
        marks = PatchCollection(
            squares, facecolor="none", edgecolor=FAINT, linewidth=0, hatch="//////", gid=FLOOR
        )
        ax.add_collection(marks)


def outline(ax: Axes, values: pd.DataFrame, cells: Iterable[tuple[Hashable, Hashable]]) -> None:
    """Draw a frame around cells given as (layer, column).

    Raises
    ------
    BadCall
        The map has no such cell.
    """
    rows, columns = list(values.index), list(values.columns)
    for layer, column in cells:
        if layer not in rows or column not in columns:
            raise BadCall(f"outline: the map has no cell at layer {layer!r}, {column!r}")
        at = columns.index(column), rows.index(layer)
        ax.add_patch(
            Rectangle(at, 1, 1, fill=False, edgecolor=INK, linewidth=1.3, gid=OUTLINE, zorder=3)
        )
