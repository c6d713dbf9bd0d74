"""A heatmap in characters: a line per component, layers from left to right, as wide as fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.style import Style
from rich.text import Text

from ftdiff.comparison.colour_range import colour_range
from ftdiff.metrics import METRICS
from ftdiff.naming.labels import column_labels, distinct
from ftdiff.reports.maps import Map
from ftdiff.reports.palette import colour, share_of
from ftdiff.reports.svg import ends_of
from ftdiff.tensors import Array

_SHADES = "░▒▓█"
# Names of modules that no table knows may be long; a cell is at most this wide.
_NAME, _WIDEST = 24, 3
# What a terminal cannot show at once is no overview.
_LINES = 16


@dataclass(frozen=True)
class Lines:
    """A heatmap that fits a width.

    Attributes
    ----------
    names
        Component of each line.
    cells
        float64, components × columns; NaN where there is no value.
    width
        Characters of one cell.
    pooled
        Layers of one column; each shows the largest of them.
    more
        Components that were left out.
    """

    names: tuple[str, ...]
    cells: Array
    width: int
    pooled: int
    more: int


def fitted(one: Map, metric: str, width: int, every: Iterable[str] = ()) -> Lines:
    """Cut a map to a width: cells of one to three characters; layers are pooled if need be.

    Parameters
    ----------
    one, metric
        What is shown.
    width
        Characters of a line, with the component's name.
    every
        The components of all maps that stand together.
    """
    labels = column_labels(one.components, every)
    plain = [c if label.startswith(c.partition(".")[0]) else label
             for c, label in zip(one.components, labels, strict=True)]  # fmt: skip
    names = tuple(distinct(plain, _NAME)[:_LINES])
    room = max(8, width - max(map(len, names)) - 2)
    layers = len(one.layers)
    pooled = math.ceil(layers / room)
    cells = one.values[metric].T[: len(names)]
    padded = np.full((len(names), math.ceil(layers / pooled) * pooled), np.nan)
    padded[:, :layers] = cells
    columns = padded.reshape(len(names), -1, pooled)
    largest = np.where(np.isfinite(columns), columns, -np.inf).max(axis=2)
    return Lines(
        names=names,
        cells=np.where(np.isfinite(largest), largest, np.nan),
        width=max(1, min(_WIDEST, room // largest.shape[1])),
        pooled=pooled,
        more=len(one.components) - len(names),
    )


@dataclass(frozen=True)
class Ink:
    """What a console can show: colours, or shades of these characters."""

    coloured: bool
    shades: str

    @classmethod
    def of(cls, console: Console) -> Ink:
        """Take what a console has: NO_COLOR and pipes have no colours, sixteen are too few."""
        return cls(console.color_system in ("256", "truecolor") and not console.no_color, _SHADES)

    def cell(self, share: float | None, width: int = 1) -> Text:
        """Return one cell at a share of the scale, or blank for None."""
        if share is None:
            return Text(" " * width)
        if self.coloured:
            return Text(" " * width, style=Style(bgcolor=colour(share)))
        return Text(self.shades[min(int(share * len(self.shades)), len(self.shades) - 1)] * width)


def heatmap(console: Console, one: Map, metric: str) -> Sequence[Text]:
    """Return the lines of a heatmap, with its scale named below.

    In colour where the console has colours, else in shades of characters.

    Parameters
    ----------
    console
        Where it will be printed: its width and what it can show count.
    one, metric
        What is shown; no lines where no cell has a value.
    """
    return heatmaps(console, [one], metric)


def heatmaps(console: Console, drawn: Sequence[Map], metric: str) -> Sequence[Text]:
    """Return the lines of the heatmaps of all stacks, on one scale, which is named below them.

    Parameters
    ----------
    console, metric
        As for `heatmap`.
    drawn
        In the model's order; a stack in which nothing moved says so.
    """
    crossing = [name for one in drawn for name in one.components]
    held = [(one, fitted(one, metric, console.width, crossing)) for one in drawn]
    held = [(one, lines) for one, lines in held if np.isfinite(lines.cells).any()]
    moving = [(one, lines) for one, lines in held if not one.still]
    finite = np.concatenate([lines.cells.ravel() for _, lines in moving or held] or [np.empty(0)])
    if not np.isfinite(finite).any():
        return []
    low, high = colour_range(finite)
    ink = Ink.of(console)
    pad = max(len(name) for _, lines in held for name in lines.names) + 2
    found: list[Text] = []
    for one, lines in held:
        if len(held) > 1:
            found.append(Text(_heading(one, lines), style="bold", no_wrap=not one.still))
        elif one.still:
            found.append(Text(f"{one.label} · {one.still}." if one.label else f"{one.still}."))
        if not one.still:
            found += [
                _line(name, row, pad, ink, lines.width, (low, high))
                for name, row in zip(lines.names, lines.cells, strict=True)
            ]
    if not moving:
        return found
    top, _, bottom = ends_of(finite, low, high)
    key = Text(f"{METRICS[metric].label}  {bottom} ")
    for i in range(8):
        key.append_text(ink.cell((i + 0.5) / 8))
    key.append(f" {top} · " + (_said(*held[0]) if len(held) == 1 else "one scale for all"))
    return [*found, key]


def _line(name: str, row: Array, pad: int, ink: Ink, width: int, ends: tuple[float, float]) -> Text:
    text = Text(name.ljust(pad), no_wrap=True)
    for value in row.tolist():
        share = share_of(value, *ends) if math.isfinite(value) else None
        text.append_text(ink.cell(share, width))
    return text


def _heading(one: Map, lines: Lines) -> str:
    """Name a stack of several, and say what is in its lines."""
    name = one.label or one.stack or "main"
    said = one.still or _said(one, lines)
    told = not one.still and str(one.layers[0]).partition(" ")[0] == name  # its rows say it
    return said if told else f"{name} · {said}"


def _said(one: Map, lines: Lines) -> str:
    """Say which layers there are, and what is missing."""
    first, last = one.layers[0], one.layers[-1]
    said = [f"layers {first} to {last}" if isinstance(first, int) else f"{first} to {last}"]
    if first == last:
        said = [f"layer {first}" if isinstance(first, int) else f"{first}"]
    if lines.pooled > 1:
        said[0] += f", each cell the largest of {lines.pooled}"
    if lines.more:
        said.append(f"{lines.more} more components")
    return " · ".join(said)
