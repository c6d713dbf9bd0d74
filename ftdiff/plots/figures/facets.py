"""Several maps in one figure: on one shared scale with one colour bar, or each on its own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements.axes import FAINT, FONT, LETTER, SMALL
from ftdiff.plots.elements.cells import dress_bar
from ftdiff.plots.elements.colours import extended
from ftdiff.plots.elements.labels import shown
from ftdiff.plots.figures.registry import FIGURES, draw_as

#: Inches: letters stay readable in a column of 380 pixels.
WIDTH = 4.6


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
    taken = inspect.signature(FIGURES[style]).parameters
    if "vmax" not in taken:
        raise BadCall(f"style {style!r} has no scale of colours to share")
    if not len(diffs):
        raise BadCall("one scale of several figures needs at least one diff")
    if style == "importance" and options.get("normalise", "max") in ("max", "none"):
        options = {**options, "normalise": "none"}
    bare = {**options, "bare": True}
    function = FIGURES[style]
    axes = (draw_as(style, function, one, metric, ax=_unseen(), **bare) for one in diffs)
    drawn = [mesh_of(ax) for ax in axes]
    ends = np.array([mesh.get_clim() for mesh in drawn], float)
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    middle = 1.0 if options.get("normalise") in ("component", "row") else (low + high) / 2
    joined = {"vmin": low, "vmax": high, "center": options.get("center", middle)}
    if options.get("difference"):
        del joined["vmin"]
    return {name: float(value) for name, value in joined.items() if name in taken}


def _unseen() -> Axes:
    """Return Axes that no notebook shows: their limits are all that is wanted."""
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def facets(
    diffs: Sequence[Diff | pd.DataFrame],
    metric: str | None = None,
    *,
    style: str = "modules",
    shared: bool = True,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    **options: Any,
) -> Figure:
    """Draw several maps side by side.

    Parameters
    ----------
    diffs
        Fine-tunes of one base, or any diffs or matrices.
    metric, style, **options
        As for `heatmap`; the style may be "heads" too.
    shared
        One scale for all, and one colour bar that says so; else each has its own.
    titles
        A text over each; by default what was tuned.
    columns
        Maps side by side; by default three, or two where each has a bar of its own.

    Returns
    -------
    Figure
        The maps are its first Axes, in order.

    Raises
    ------
    UnknownName, BadCall
        As for `limits`; or there are not as many titles as diffs.
    """
    if titles is None:
        titles = [_title(one, at) for at, one in enumerate(diffs)]
    if len(titles) != len(diffs):
        raise BadCall(f"{len(titles)} titles for {len(diffs)} maps")
    scale = limits(diffs, metric, style=style, **options)
    if shared:
        options = {**options, **scale}
    across = columns or min(3 if shared else 2, len(diffs))
    if columns is None and len(diffs) > across:  # rows of equal length: four are two by two
        across = math.ceil(len(diffs) / math.ceil(len(diffs) / across))
    down = math.ceil(len(diffs) / across)
    figure = canvas.new_figure((WIDTH, min(down * _tall(_layers(diffs), 1.0), 40.0)))
    layout = figure.get_layout_engine()
    figure.set_layout_engine("none")  # a layout half-way would measure maps without their labels
    room = {"left": 0.06, "right": 1.0, "wspace": 0.08}
    grid = figure.subplots(down, across, squeeze=False, gridspec_kw=room)
    spots: list[Axes] = list(grid.ravel())
    for spare in spots[len(diffs) :]:
        spare.remove()
    maps = spots[: len(diffs)]
    for one, title, ax in zip(diffs, titles, maps, strict=True):
        named = {**options, "title": _fitting(title, across)}
        draw_as(style, FIGURES[style], one, metric, ax=ax, **named)
    _shared_labels(figure, maps, across, shared=shared)
    if shared:
        _one_bar(figure, maps)
    _grown(figure, maps, down)
    figure.set_layout_engine(layout)
    return figure


def mesh_of(ax: Axes) -> QuadMesh:
    """Return the cells of a map."""
    mesh = ax.collections[0]
    assert isinstance(mesh, QuadMesh)
    return mesh


def _title(one: Diff | pd.DataFrame, at: int) -> str:
    if isinstance(one, Diff) and one.about.get("tuned"):
        return str(one.about["tuned"]).rstrip("/").rpartition("/")[2]
    return f"{at + 1}"


def _fitting(title: str, across: int) -> str:
    """Shorten a title to the width of its map."""
    return shown(title, max(8, int(WIDTH * 72 / across / (LETTER * (FONT + 1)) - 4)))


def _grown(figure: Figure, maps: Sequence[Axes], down: int) -> None:
    """Make the figure as high as its maps and their labels need."""
    rows = max(len(np.atleast_2d(np.asarray(mesh_of(ax).get_array()))) for ax in maps)
    names = max((len(text.get_text()) for ax in maps for text in ax.get_xticklabels()), default=0)
    labels = 0.5 + min(names, 40) * LETTER * FONT / 72
    figure.set_size_inches(WIDTH, min(down * _tall(rows, labels) + 0.3, 40.0))


def _layers(diffs: Sequence[Diff | pd.DataFrame]) -> int:
    """Return about how many rows the tallest map has."""
    return max(
        len(one) if isinstance(one, pd.DataFrame) else one.frame["layer"].nunique() for one in diffs
    )


def _tall(rows: int, labels: float) -> float:
    return max(1.6, min(canvas.row_height(rows) * rows, 6.0) + labels)


def _shared_labels(figure: Figure, maps: Sequence[Axes], across: int, *, shared: bool) -> None:
    """Say once what is the same for all: layers at the left, and notes below."""
    same = len({tuple(t.get_text() for t in ax.get_yticklabels()) for ax in maps}) == 1
    said = [
        [note for note in ax.get_xlabel().replace("\n", " ").split(" · ") if note] for ax in maps
    ]
    common = [note for note in said[0] if all(note in others for others in said)]
    for at, (ax, notes) in enumerate(zip(maps, said, strict=True)):
        if at % across:
            ax.set_ylabel("")
            if same:
                ax.set_yticklabels([])
        title = ax.get_title()
        canvas.caption(ax, title, [note for note in notes if note not in common])
    if not _bare(maps):
        common.append("one scale for all" if shared else "each map has its own scale")
        letters = int(WIDTH * 72 / (LETTER * SMALL))
        figure.supxlabel(
            canvas.wrapped(common, letters), fontsize=SMALL, color=FAINT, parse_math=False
        )


def _bare(maps: Sequence[Axes]) -> bool:
    """Say whether the maps were drawn without words."""
    return not any(ax.get_xticklabels() for ax in maps)


def _one_bar(figure: Figure, maps: Sequence[Axes]) -> None:
    """Put one colour bar in the place of each map's own."""
    bars = [mesh.colorbar for mesh in map(mesh_of, maps)]
    own = [bar for bar in bars if isinstance(bar, Colorbar)]
    label, extends = own[0].ax.get_ylabel(), [bar.extend for bar in own]
    ticks = [float(tick) for tick in own[0].get_ticks()]
    for bar in own:
        bar.remove()
    mesh = mesh_of(maps[0])
    bar = figure.colorbar(mesh, ax=list(maps), extend=extended(extends), pad=0.02, aspect=34)
    dress_bar(bar, ticks, label)
