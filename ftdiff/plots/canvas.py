"""The sheet to draw on: a figure sized to its matrix, and labels that fit it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Points. Figures are small sheets, so that letters stay readable in a column of 380 pixels.
FONT, SMALL = 8.0, 6.8
INK, FAINT = "#222222", "#5c5c66"
# Mean width of a letter and height of a line, in ems.
_LETTER, _LINE = 0.56, 1.3


def new_axes(rows: int, columns: int) -> Axes:
    """Return the Axes of a new figure, unknown to pyplot, for so many cells."""
    width = min(max(3.9, 1.5 + 0.36 * columns), 14.0)
    cell = 0.14 if rows <= 40 else max(0.14 * 40 / rows, 0.075)
    height = min(max(2.3, 1.15 + cell * rows), 14.0)
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def cell_points(ax: Axes, rows: int, columns: int) -> tuple[float, float]:
    """Return about how wide and high one cell is, in points, before the layout is known."""
    figure = ax.figure
    box = ax.get_position()
    size = figure.get_size_inches() if isinstance(figure, Figure) else (6.0, 4.0)
    return 72 * size[0] * box.width / columns, 72 * size[1] * box.height / rows


def label_columns(ax: Axes, at: Sequence[float], texts: Sequence[str], cell: float) -> None:
    """Name the columns: level where the names fit, else slanted, upright where columns are thin."""
    longest = max(map(len, texts), default=0) * _LETTER * FONT
    ax.set_xticks(list(at))
    if longest <= 0.96 * cell:
        ax.set_xticklabels(texts, fontsize=FONT)
    else:
        angle = 45 if cell >= 2 * FONT else 90
        place = {"ha": "right", "va": "top" if angle == 45 else "center"}
        ax.set_xticklabels(
            texts,
            fontsize=FONT,
            rotation=angle,
            rotation_mode="anchor",
            **place,  # type: ignore[arg-type]
        )
    ax.tick_params(axis="x", length=0, pad=3, colors=INK)


def label_rows(ax: Axes, rows: Iterable[int], texts: Iterable[str], name: str = "Layer") -> None:
    """Name some rows, counted from 0, at the middle of their cells."""
    ax.set_yticks([row + 0.5 for row in rows])
    ax.set_yticklabels(list(texts), fontsize=FONT, rotation=0)
    ax.tick_params(axis="y", length=2, width=0.6, pad=2, colors=INK)
    ax.set_ylabel(name, fontsize=FONT, color=INK)


def rows_apart(cell: float) -> float:
    """Return how many rows one label needs, given a row's height in points."""
    return _LINE * FONT / cell


def caption(ax: Axes, title: str, notes: Sequence[str]) -> None:
    """Write the title above the map and the notes below it."""
    if title:
        ax.set_title(title, fontsize=FONT + 1, color=INK, pad=6)
    figure = ax.figure
    width = figure.get_size_inches()[0] if isinstance(figure, Figure) else 6.0
    letters = max(24, int(72 * width * ax.get_position().width / (_LETTER * SMALL)))
    text = textwrap.fill(" · ".join(notes), letters)
    ax.set_xlabel(text, fontsize=SMALL, color=FAINT, labelpad=5, linespacing=1.35)
