"""The sheet to draw on: a figure sized to its matrix, and labels that fit it."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ftdiff.plots.elements.labels import shown

#: Points. Figures are small sheets, so that letters stay readable in a column of 380 pixels.
FONT, SMALL = 8.0, 6.8
INK, FAINT = "#222222", "#5c5c66"
# Inches: the widest figure whose letters are nine pixels high in that column.
_COLUMN = 4.6
#: Mean width of a letter and height of a line, in ems.
LETTER, _LINE = 0.56, 1.3
_DIGIT = 0.64  # digits are wider


def new_axes(values: pd.DataFrame, strip: int = 0, *, wide: bool = False) -> Axes:
    """Return the Axes of a new figure with room for these cells and names.

    In a notebook the figure is pyplot's current one, which is shown below the cell; elsewhere
    pyplot does not know it, so that nothing piles up and threads may draw. `strip` is how many
    columns more the map takes, `wide` gives cells room for a number.
    """
    rows, columns = values.shape
    names, layers = [_inches(name) for name in values], [_inches(name) for name in values.index]
    left = max(layers) + max(0.0, 0.7 * names[0] - 0.4)  # slanted names lean out to the left
    each = 0.42 if wide else 0.3
    width = max(3.9, min(1.4 + each * (columns + strip), 14.0) + left)
    if not wide and width > _COLUMN >= 1.2 + max(layers) + 1.15 * FONT / 72 * (columns + strip):
        width = _COLUMN  # thinner cells, whose names still stand apart
    high = max(row_height(rows), 0.17 if wide else 0.0)
    height = max(1.9, min(0.75 + high * rows, 13.5) + 0.7 * max(names))
    return new_figure(figsize=(width, height)).add_subplot()


def row_height(rows: int) -> float:
    """Return how high one of so many rows is, in inches."""
    return 0.14 if rows <= 40 else max(0.14 * 40 / rows, 0.075)


def new_figure(figsize: tuple[float, float]) -> Figure:
    """Return a figure of this width and height in inches, as `new_axes` does."""
    options: dict[str, Any] = {"figsize": figsize, "layout": "constrained", "facecolor": "white"}
    if "ipykernel" in sys.modules:
        from matplotlib import pyplot

        return pyplot.figure(**options)
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def _inches(name: object) -> float:
    return len(shown(name)) * LETTER * FONT / 72


@contextmanager
def alone(ax: Axes) -> Iterator[None]:
    """Have the other maps of its figure out of sight: seaborn draws all of it for each map."""
    others = [one for one in ax.figure.axes if one is not ax and one.get_visible()]
    for one in others:
        one.set_visible(False)
    try:
        yield
    finally:
        for one in others:
            one.set_visible(True)


def cell_points(ax: Axes, rows: int, columns: int) -> tuple[float, float]:
    """Return about how wide and high one cell is, in points, before the layout is known."""
    width, height = points(ax)
    return width / columns, height / rows


def points(ax: Axes) -> tuple[float, float]:
    """Return about how wide and high the Axes are, in points, before the layout is known."""
    figure = ax.get_figure()
    scale = 72 / (figure.dpi if figure is not None else 72)
    return ax.bbox.width * scale, ax.bbox.height * scale


def label_columns(ax: Axes, at: Sequence[float], names: Iterable[object], cell: float) -> None:
    """Name the columns: level where the names fit, else slanted, upright where columns are thin.

    Where even upright names would touch, every second one is left out, or every third, ….
    """
    every = max(1, math.ceil(FONT / cell))
    texts = [shown(name) for name in names][::every]
    if max(map(_ems, texts)) * FONT <= 0.88 * cell:  # less is left once bars are laid out
        turn: dict[str, Any] = {}
    elif cell >= 2 * FONT:
        turn = {"rotation": 45, "ha": "right", "va": "top", "rotation_mode": "anchor"}
    else:
        turn = {"rotation": 90, "ha": "right", "va": "center", "rotation_mode": "anchor"}
    ax.set_xticks(list(at)[::every], texts, fontsize=FONT, parse_math=False, **turn)
    ax.tick_params(axis="x", length=0, pad=3, colors=INK)


def _ems(text: str) -> float:
    return sum(_DIGIT if letter.isdigit() else LETTER for letter in text)


def label_rows(ax: Axes, rows: Iterable[int], names: Iterable[object]) -> None:
    """Name some rows, counted from 0, at the middle of their cells."""
    texts = [shown(name) for name in names]
    middles = [row + 0.5 for row in rows]
    ax.set_yticks(middles, texts, fontsize=FONT, rotation=0, parse_math=False)
    ax.tick_params(axis="y", length=2, width=0.6, pad=2, colors=INK)
    ax.set_ylabel("Layer", fontsize=FONT, color=INK)


def rows_apart(cell: float) -> float:
    """Return how many rows one label needs, given a row's height in points."""
    return _LINE * FONT / cell


def caption(ax: Axes, title: str, notes: Sequence[str]) -> None:
    """Write the title above the map and the notes below it."""
    if title:
        ax.set_title(title, fontsize=FONT + 1, color=INK, pad=6, parse_math=False)
    letters = max(24, int(points(ax)[0] / (LETTER * SMALL)))
    ax.set_xlabel(
        wrapped(notes, letters), fontsize=SMALL, color=FAINT, labelpad=5, parse_math=False
    )


def wrapped(notes: Iterable[str], letters: int) -> str:
    """Join short clauses in lines of so many letters."""
    return "\n".join(textwrap.wrap(" · ".join(notes), letters))
