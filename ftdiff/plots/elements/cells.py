"""The coloured cells, their colour bar, and the marks upon them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.patches import Rectangle

from ftdiff.comparison.colour_range import few
from ftdiff.plots.elements.axes import FONT, INK, SMALL, cell_points
from ftdiff.plots.elements.colours import Scale, tick_texts

#: Marks a reader (or a test, or a style sheet) finds by their gid.
FLOOR, OUTLINE, CHANCE, STRIP = "under-the-floor", "outlined", "chance", "whole-layer"
FRAME, BEYOND = "frame", "beyond"
#: The face of a cell that cannot be told from chance: darker than a missing one.
INDISTINCT = "#b9b9c2"
_FRAME, _HATCH = "#a8a8b0", (0.13, 0.13, 0.13, 0.6)
# Points between cells, and under which size of a cell they would eat it.
_LINE, _THIN = 0.35, 3.0
# More cells than this are one picture in a file of vectors: each would take a line of it.
_MANY = 20_000


def paint(ax: Axes, values: pd.DataFrame, scale: Scale, label: str, *, bare: bool) -> QuadMesh:
    """Draw the cells and their colour bar; row 0 is at the bottom, column j spans j to j + 1."""
    thin = min(cell_points(ax, *values.shape)) < _THIN
    sns.heatmap(
        values,
        ax=ax,
        vmin=scale.vmin,
        vmax=scale.vmax,
        cmap=scale.cmap,
        linewidths=0 if thin else _LINE,
        linecolor="white",
        xticklabels=False,
        yticklabels=False,
        cbar_kws={"extend": scale.extend, "pad": 0.03, "aspect": 34, "ticks": list(scale.ticks)},
    )
    rows, columns = values.shape
    ax.set(ylim=(0, rows), xlabel="", ylabel="")
    frame = Rectangle((0, 0), columns, rows, fill=False, linewidth=0.5, edgecolor=_FRAME, zorder=2)
    ax.add_patch(frame).set(clip_on=False, gid=FRAME)  # so that white cells end somewhere
    mesh = ax.collections[-1]
    assert isinstance(mesh, QuadMesh)
    mesh.set_rasterized(values.size > _MANY)
    if mesh.colorbar is not None:
        dress_bar(mesh.colorbar, scale.ticks, "" if bare else label)
    return mesh


def dress_bar(bar: Colorbar, ticks: Sequence[float], label: str) -> None:
    """Write a colour bar's numbers and what they are."""
    bar.set_ticks(list(ticks), labels=tick_texts(tuple(ticks)))
    bar.ax.tick_params(labelsize=FONT, length=2, width=0.6, colors=INK)
    bar.minorticks_off()
    bar.outline.set(linewidth=0.4, edgecolor=_FRAME)
    bar.set_label(label, fontsize=FONT, color=INK, parse_math=False)


def hatch(ax: Axes, cells: pd.DataFrame) -> None:
    """Hatch the cells that are true."""
    squares = [Rectangle((x, y), 1, 1) for y, x in np.argwhere(cells.to_numpy(bool)).tolist()]
    if squares:
        marks = PatchCollection(
            squares, facecolor="none", edgecolor=_HATCH, linewidth=0, hatch="/////", gid=FLOOR
        )
        ax.add_collection(marks)


def beyond(ax: Axes, values: pd.DataFrame, scale: Scale) -> list[str]:
    """Write the numbers of the few cells that lie beyond the colours; return a note of them."""
    array = values.to_numpy()
    outside = np.argwhere((array < scale.vmin) | (array > scale.vmax)).tolist()
    if not few(len(outside), int(np.isfinite(array).sum())):
        return []
    for y, x in outside:
        text = ax.text(
            *(x + 0.5, y + 0.5, f"{array[y, x]:.2g}"), color="white", size=SMALL, gid=BEYOND
        )
        text.set(ha="center", va="center", parse_math=False, clip_on=True)
    if len(outside) == 1:
        return ["1 cell beyond the colours, its number in it"]
    return [f"{len(outside)} cells beyond the colours, their numbers in them"]


def grey(ax: Axes, cells: pd.DataFrame) -> None:
    """Cover the cells that are true with grey."""
    squares = [Rectangle((x, y), 1, 1) for y, x in np.argwhere(cells.to_numpy(bool)).tolist()]
    if squares:
        marks = PatchCollection(
            squares, facecolor=INDISTINCT, edgecolor="white", linewidth=_LINE, gid=CHANCE
        )
        ax.add_collection(marks)


def strip(ax: Axes, column: pd.DataFrame, scale: Scale) -> float:
    """Draw one column to the left of the map, apart from it, in its colours; return its middle."""
    left, right = -1.6, -0.6
    ax.pcolormesh(
        [left, right],
        np.arange(len(column) + 1),
        column.to_numpy(),
        cmap=scale.cmap,
        vmin=scale.vmin,
        vmax=scale.vmax,
        linewidth=_LINE,
        edgecolor="white",
        gid=STRIP,
    )
    ax.set_xlim(left, ax.get_xlim()[1])
    return (left + right) / 2
