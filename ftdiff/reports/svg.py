"""Heatmaps as shapes with places, for the page's own SVG: all maps fit beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ftdiff.comparison.colour_range import few
from ftdiff.naming.labels import column_labels, distinct
from ftdiff.numbers import number
from ftdiff.reports.maps import Map, described
from ftdiff.reports.scale import Scale
from ftdiff.tensors import Array

# What maps have of a laptop's screen, with their names: more than that is scrolled to.
_ROOM = {"width": 636.0, "height": 430.0}
_LETTER, _LONG, _LINE = 6.6, 20, 13
_MARGIN = {"top": 6.0, "right": 8.0, "title": 20.0, "between": 14.0}
_CELL = {"least": 3.0, "most": 26.0, "narrow": 16.0, "wide": 78.0}


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
    index
        Which map of the page it is.
    width, height
        Of the drawing, in units of the SVG.
    cell_width, cell_height
        Of one cell.
    cells, rows, columns
        The cells, and the names of some layers and of all components; no components where the
        figure below names them.
    slanted
        Whether the components' names are written at an angle.
    title
        What it is of, above it; "" for the only one.
    alt
        What is shown, in words.
    """

    index: int
    width: float
    height: float
    cell_width: float
    cell_height: float
    cells: tuple[Cell, ...]
    rows: tuple[Label, ...]
    columns: tuple[Label, ...]
    slanted: bool
    title: str
    alt: str


def panes(drawn: Sequence[Map], metric: str, scale: Scale) -> tuple[tuple[Figure, ...], ...]:
    """Lay out the maps of a page, coloured by a metric on one scale.

    Maps that follow each other with the same components stand above each other, the last on top,
    as layers do; others side by side.
    """
    groups = [[*held] for _, held in groupby(enumerate(drawn), lambda one: _alike(one[1]))]
    columns = sum(len(held[0][1].components) for held in groups)
    left = max([_left(one) for one in drawn], default=0.0)
    labels = _labels(drawn)
    longest = max(map(len, labels.values()), default=0) * _LETTER
    width = _cell_width(left, columns, len(groups))
    slanted = longest > width - 4
    if slanted:  # the first name reaches beyond its column
        reach = max(0.77 * len(labels[one.components[0]]) * _LETTER for one in drawn)
        left = max(left, reach - width / 2 + 4)
        width = _cell_width(left, columns, len(groups))
    bottom = 0.66 * longest + 16 if slanted else 24.0
    rows = [sum(len(one.layers) for _, one in held) for held in groups]
    titles = max((len(held) for held in groups), default=0) * (_MARGIN["title"] + _MARGIN["top"])
    tall = (_ROOM["height"] - bottom - titles) / max([*rows, 1])
    height = min(max(math.floor(tall), _CELL["least"]), _CELL["most"])
    made = []
    for held in groups:
        figures = []
        for place, (index, one) in enumerate(reversed(held)):
            last = place == len(held) - 1
            layout = _Layout(left, width, height, bottom if last else 0.0, slanted, labels)
            figures.append(_figure(index, one, metric, scale, layout))
        made.append(tuple(figures))
    return tuple(made)


def _cell_width(left: float, columns: int, groups: int) -> float:
    room = _ROOM["width"] - groups * (left + _MARGIN["right"]) - (groups - 1) * _MARGIN["between"]
    return min(max(room / max(columns, 1), _CELL["narrow"]), _CELL["wide"])


@dataclass(frozen=True)
class _Layout:
    left: float
    width: float
    height: float
    bottom: float
    slanted: bool
    labels: Mapping[str, str]


def _labels(drawn: Sequence[Map]) -> dict[str, str]:
    """Return what the columns are called, those of one name alike in all maps."""
    every = [*dict.fromkeys(name for one in drawn for name in one.components)]
    return dict(zip(every, distinct(column_labels(every), _LONG), strict=True))


def _figure(index: int, one: Map, metric: str, scale: Scale, layout: _Layout) -> Figure:
    top = _MARGIN["top"] + (_MARGIN["title"] if one.title else 0.0)
    tall = len(one.layers) * layout.height
    left = layout.left
    columns = tuple(
        Label(left + (j + 0.5) * layout.width, top + tall + 15, layout.labels[name])
        for j, name in enumerate(one.components)
    )
    return Figure(
        index=index,
        width=left + len(one.components) * layout.width + _MARGIN["right"],
        height=top + tall + layout.bottom,
        cell_width=layout.width,
        cell_height=layout.height,
        cells=tuple(_cells(one, metric, scale, (left, top), layout)),
        rows=tuple(_row_labels(one, left, top, layout.height)),
        columns=columns if layout.bottom else (),
        slanted=layout.slanted,
        title=one.title,
        alt=described(one, metric),
    )


def _alike(one: Map) -> tuple[int, tuple[str, ...]]:
    return one.of, one.components


def _left(one: Map) -> float:
    return max(len(str(layer)) for layer in one.layers) * _LETTER + 12


def ends_of(values: Array, low: float, high: float) -> tuple[str, str, str]:
    """Return a colour bar's top, middle and bottom, with ≥ and ≤ where values lie beyond."""
    top, bottom = (bool((values > high).any()), bool((values < low).any()))
    return (
        f"≥ {number(high)}" if top else number(high),
        number((low + high) / 2),
        f"≤ {number(low)}" if bottom else number(low),
    )


def _cells(
    one: Map, metric: str, scale: Scale, corner: tuple[float, float], layout: _Layout
) -> Iterator[Cell]:
    values = one.values[metric]
    rows, columns = values.shape
    outside = (values < scale.low) | (values > scale.high)
    written = few(int(outside.sum()), int(np.isfinite(values).sum())) and layout.height >= _LINE
    for i in range(rows):
        for j in range(columns):
            value = float(values[i, j])
            yield Cell(
                index=i * columns + j,
                x=corner[0] + j * layout.width,
                y=corner[1] + (rows - 1 - i) * layout.height,
                fill=scale.colour(value),
                doubtful=bool(one.doubtful[i, j]),
                title=f"{one.row(i)}, {one.components[j]}: {number(value)}",
                beyond=number(value, 2) if written and outside[i, j] else "",
            )


def _row_labels(one: Map, left: float, top: float, height: float) -> Iterator[Label]:
    rows = len(one.layers)
    step = 1 if height >= _LINE and rows <= 24 else 4 if height * 4 >= _LINE else 8
    while step * height < _LINE:
        step *= 2
    for i, layer in enumerate(one.layers):
        last = i == rows - 1
        if last or (i % step == 0 and (rows - 1 - i) * 2 >= step):
            middle = top + (rows - 0.5 - i) * height
            yield Label(left - 7, middle + 4, str(layer))
