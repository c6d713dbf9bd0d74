"""A heatmap as shapes with places, for the page's own SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.colour_range import colour_range, few
from ftdiff.reports.maps import Map, described
from ftdiff.reports.palette import colour, share_of
from ftdiff.tensors import Array

_HEIGHT, _LETTER, _BAR = 15, 6.6, 36
_LONG = 20
_MARGIN = {"top": 8, "right": 92}


@dataclass(frozen=True)
class Cell:
    """One cell: its index row by row, place, colour, what it says; its number if it is outlying."""

    index: int
    x: float
    y: float
    fill: str
    doubtful: bool
    title: str
    beyond: str


@dataclass(frozen=True)
class Label:
    """A text at a place."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Figure:
    """All that an SVG of one map needs; layer 0 is at the bottom.

    Attributes
    ----------
    width, height
        Of the drawing, in units of the SVG.
    cell_width, cell_height
        Of one cell.
    cells, rows, columns
        The cells, and the names of some layers and of all components.
    slanted
        Whether the components' names are written at an angle.
    bar, ticks
        The colour bar's steps from the top, and three numbers beside it.
    alt
        What is shown, in words.
    """

    width: float
    height: float
    cell_width: float
    cell_height: float
    cells: tuple[Cell, ...]
    rows: tuple[Label, ...]
    columns: tuple[Label, ...]
    slanted: bool
    bar: tuple[Cell, ...]
    ticks: tuple[Label, ...]
    alt: str


def number(value: float | None) -> str:
    """Write a number as the page does: four digits, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"


def figure(one: Map, metric: str) -> Figure:
    """Lay out one map, coloured by a metric."""
    rows, columns = len(one.layers), len(one.components)
    names = [_short(name) for name in one.components]
    longest = max(map(len, names)) * _LETTER
    width = 66.0 if columns <= 12 else 30.0
    slanted = longest > width - 4
    left = 56 + (max(0.0, 0.7 * len(names[0]) * _LETTER - 40) if slanted else 0.0)
    tall = max(rows * _HEIGHT, 130)
    bottom = 0.75 * longest + 20 if slanted else 26
    middle = _MARGIN["top"] + tall - rows * _HEIGHT
    low, high = _limits(one, metric)
    return Figure(
        width=left + columns * width + _MARGIN["right"],
        height=_MARGIN["top"] + tall + bottom,
        cell_width=width,
        cell_height=_HEIGHT,
        cells=tuple(_cells(one, metric, left, middle, width)),
        rows=tuple(_row_labels(one, left, middle)),
        columns=tuple(
            Label(left + (j + 0.5) * width, _MARGIN["top"] + tall + 14, name)
            for j, name in enumerate(names)
        ),
        slanted=slanted,
        bar=tuple(
            Cell(
                i,
                left + columns * width + 16,
                _MARGIN["top"] + i * tall / _BAR,
                colour(1 - (i + 0.5) / _BAR),
                False,
                "",
                "",
            )
            for i in range(_BAR)
        ),
        ticks=tuple(
            Label(left + columns * width + 36, _MARGIN["top"] + 6 + share * (tall - 8), text)
            for share, text in zip(
                (0.0, 0.5, 1.0), ends_of(one.values[metric], low, high), strict=True
            )
        ),
        alt=described(one, metric),
    )


def _short(name: str) -> str:
    """Drop the middle of a long name: the cells say it whole."""
    return name if len(name) <= _LONG else f"{name[: _LONG // 2]}…{name[1 - _LONG // 2 :]}"


def _limits(one: Map, metric: str) -> tuple[float, float]:
    values = one.values[metric]
    finite = values[np.isfinite(values)]
    return colour_range(finite) if len(finite) else (math.nan, math.nan)


def ends_of(values: Array, low: float, high: float) -> tuple[str, str, str]:
    """Return a colour bar's top, middle and bottom, with ≥ and ≤ where values lie beyond."""
    top, bottom = (bool((values > high).any()), bool((values < low).any()))
    return (
        f"≥ {number(high)}" if top else number(high),
        number((low + high) / 2),
        f"≤ {number(low)}" if bottom else number(low),
    )


def _cells(one: Map, metric: str, left: float, top: float, width: float) -> Iterator[Cell]:
    low, high = _limits(one, metric)
    values = one.values[metric]
    rows, columns = values.shape
    outside = (values < low) | (values > high)
    written = few(int(outside.sum()), int(np.isfinite(values).sum()))
    for i in range(rows):
        for j in range(columns):
            value = float(values[i, j])
            yield Cell(
                index=i * columns + j,
                x=left + j * width,
                y=top + (rows - 1 - i) * _HEIGHT,
                fill=colour(share_of(value, low, high)) if math.isfinite(value) else "",
                doubtful=bool(one.doubtful[i, j]),
                title=f"layer {one.layers[i]}, {one.components[j]}: {number(value)}",
                beyond=f"{value:.2g}" if written and outside[i, j] else "",
            )


def _row_labels(one: Map, left: float, top: float) -> Iterator[Label]:
    rows = len(one.layers)
    step = 1 if rows <= 12 else 4 if rows <= 64 else 8
    for i, layer in enumerate(one.layers):
        last = i == rows - 1
        if last or (i % step == 0 and (rows - 1 - i) * 2 >= step):
            yield Label(left - 7, top + (rows - 1 - i) * _HEIGHT + 11.5, str(layer))
