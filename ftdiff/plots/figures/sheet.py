"""Where maps of several sizes stand on one sheet: cells of one size, feet on one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.plots.elements.axes import (
    FAINT,
    FONT,
    INK,
    LETTER,
    SMALL,
    new_figure,
    row_height,
    wrapped,
)

# Inches. A sheet is at most so wide; thinner cells are tried before a second line of maps.
_WIDEST, _CELLS = 9.0, (0.27, 0.2, 0.16)
_ANNOTATED = (0.42, 0.18)
# Few rows are high enough for each to have its name.
_FEW, _HIGH = 24, 0.16
_TITLE, _GAP, _STILL = 0.24, 0.22, (1.3, 1.0)
#: Of the colour bar: its distance from the maps, its width, its least height, and its texts' width.
_BAR = (0.16, 0.1, 1.15, 0.95)


@dataclass(frozen=True)
class Spot:
    """What has to be known of a map to place it; a map without rows is a sentence.

    Attributes
    ----------
    rows, columns
        How many cells it has.
    row_letters, column_letters
        How long the longest names are.
    named
        Whether what rows are is written beside them.
    """

    rows: int
    columns: int
    row_letters: int = 0
    column_letters: int = 0
    named: bool = False


@dataclass(frozen=True)
class Box:
    """A place in inches, from the lower left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Sheet:
    """A figure's size, and the places of its maps and of its colour bar."""

    width: float
    height: float
    maps: tuple[Box, ...]
    bar: Box | None

    @classmethod
    def laid_out(
        cls, parts: Sequence[Sequence[Spot]], *, bar: bool, annotated: bool = False
    ) -> Sheet:
        """Place maps from left to right; each part begins a line, and takes few if it can."""
        spots = [spot for part in parts for spot in part]
        most = max(spot.rows for spot in spots)
        high = _HIGH if most <= _FEW else row_height(most)
        widths: Sequence[float] = _CELLS
        if annotated:
            widths, high = _ANNOTATED[:1], max(_ANNOTATED[1], high)
        side = sum(_BAR[:2]) + _BAR[3] if bar else 0.0
        room = _WIDEST - side
        fitting = (w for w in widths if all(_needed(part, w) <= room for part in parts))
        wide = next(fitting, widths[-1])
        lines = [line for part in parts for line in _lines(part, wide, room)]
        width = max(_needed(line, wide) for line in lines) + side
        width += max(_left(line[0]) for line in lines) - _left(lines[0][0])
        tall = [_tall(line, high, bar=bar and n == 0) for n, line in enumerate(lines)]
        feet = [_foot(line, wide) for line in lines]
        height = sum(tall) + sum(feet) + _TITLE * len(lines)
        boxes: list[Box] = []
        top, bar_box = height, None
        edge = max(_left(line[0]) for line in lines)
        for n, line in enumerate(lines):
            base = top - _TITLE - tall[n]
            x = edge - _left(line[0])
            for spot in line:
                x += _left(spot)
                w, h = _size(spot, wide, high)
                boxes.append(Box(x, base, w, h))
                x += w + _GAP
            if n == 0 and bar:
                bar_box = Box(width - side + _BAR[0], base, _BAR[1], tall[0])
            top = base - feet[n]
        return cls(width, height, tuple(boxes), bar_box)

    def figure(self) -> tuple[Figure, list[Axes]]:
        """Return a figure of this size, and the Axes of its maps."""
        figure = new_figure((self.width, self.height))
        figure.set_layout_engine("none")
        return figure, [self.axes(figure, box) for box in self.maps]

    def axes(self, figure: Figure, box: Box) -> Axes:
        """Return Axes at a place of a figure."""
        x, y = box.x / self.width, box.y / self.height
        return figure.add_axes((x, y, box.width / self.width, box.height / self.height))

    def explain(self, figure: Figure, title: str, notes: Sequence[str]) -> None:
        """Write the title above all maps, and the notes below them."""
        if title:
            figure.suptitle(
                title, fontsize=FONT + 1, color=INK, parse_math=False, y=1 - 0.02 / self.height,
                va="bottom",
            )  # fmt: skip
        letters = max(24, int(self.width * 72 / (LETTER * SMALL)))
        figure.supxlabel(
            wrapped(notes, letters), fontsize=SMALL, color=FAINT, parse_math=False,
            y=-0.06 / self.height, va="top",
        )  # fmt: skip


def _lines(spots: Sequence[Spot], wide: float, room: float) -> Iterator[list[Spot]]:
    """Yield the maps of each line: full lines, in order."""
    line: list[Spot] = []
    for spot in spots:
        if line and _needed([*line, spot], wide) > room:
            yield line
            line = []
        line.append(spot)
    yield line


def _needed(spots: Sequence[Spot], wide: float) -> float:
    return sum(_left(spot) + _size(spot, wide, 0)[0] for spot in spots) + _GAP * (len(spots) - 1)


def _size(spot: Spot, wide: float, high: float) -> tuple[float, float]:
    return (wide * spot.columns, high * spot.rows) if spot.rows else _STILL


def _left(spot: Spot) -> float:
    return _inches(spot.row_letters) + 0.08 + 0.17 * spot.named if spot.rows else 0.0


def _tall(spots: Sequence[Spot], high: float, *, bar: bool) -> float:
    tallest = max(_size(spot, 0, high)[1] for spot in spots)
    return max(tallest, _BAR[2]) if bar else tallest


def _foot(spots: Sequence[Spot], wide: float) -> float:
    """Return the room for the names of columns: slanted, or upright where cells are thin."""
    longest = _inches(max(spot.column_letters for spot in spots))
    return (0.75 if wide * 72 >= 2 * FONT else 1.0) * longest + 0.14


def _inches(letters: int) -> float:
    return letters * LETTER * FONT / 72
