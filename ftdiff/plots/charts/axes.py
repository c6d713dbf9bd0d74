"""The sheet of curves, points and bars: its size, its legend above it, its notes below it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ftdiff.comparison.component_styles import Look
from ftdiff.plots.elements.axes import FAINT, FONT, INK, LETTER, SMALL, new_figure, points, wrapped
from ftdiff.plots.elements.colours import LARGEST, round_ticks, tick_texts
from ftdiff.plots.elements.labels import label_of, shown
from ftdiff.plots.elements.ticks import layer_ticks
from ftdiff.tensors import Array

#: Marks a reader (or a test, or a style sheet) finds by their gid.
BAND, NOISE, NOTES, TREND = "band", "noise", "notes", "trend"
#: Inches: letters stay readable in a column of 380 pixels.
WIDTH, HEIGHT = 4.4, 2.9


def new_chart(height: float = HEIGHT, names: Iterable[object] = ()) -> Axes:
    """Return the Axes of a new figure for a chart, with room for a legend of these names."""
    labels = [label_of(name) for name in names]
    more = max(0, _rows(labels, WIDTH * 66) - 2) * 1.65 * FONT / 72
    return new_figure((WIDTH, height + more)).add_subplot()


def _columns(labels: Sequence[str], width: float) -> int:
    """Return how many columns of a legend fit, four at most; `width` is in points."""
    longest = max(map(len, labels), default=1)
    return max(1, min(4, int(width / ((longest * LETTER + 3.6) * FONT))))


def _rows(labels: Sequence[str], width: float) -> int:
    return math.ceil(len(labels) / _columns(labels, width))


def dressed(ax: Axes) -> None:
    """Take away what is no data, and rule the heights."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(linewidth=0.6, color=FAINT)
    ax.grid(axis="y", color="#e4e4e8", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=FONT, length=2, width=0.6, pad=2, colors=INK)


def named(name: object, look: Look, *, line: bool = True) -> Line2D:
    """Return the legend's entry of a component."""
    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=look.dashes if line else "none",
        marker="" if line else look.marker,
        markersize=4,
        linewidth=1.3,
        label=label_of(name),
    )


def explained(ax: Axes, handles: Sequence[Line2D], title: str, notes: Iterable[str]) -> None:
    """Write the title and the legend above the chart, and the notes under its axis."""
    labels = [str(handle.get_label()) for handle in handles]
    rows = _rows(labels, points(ax)[0])
    if handles:
        legend = ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=_columns(labels, points(ax)[0]),
            frameon=False,
            fontsize=FONT,
            handlelength=1.9,
            columnspacing=1.0,
            handletextpad=0.5,
            borderaxespad=0.3,
        )
        for text in legend.get_texts():
            text.set(color=INK, parse_math=False)
    if title:
        pad = 6 + rows * 1.65 * FONT
        ax.set_title(title, fontsize=FONT + 1, color=INK, pad=pad, parse_math=False)
    letters = max(24, int(points(ax)[0] / (LETTER * SMALL)))
    ax.annotate(
        wrapped((note for note in notes if note), letters),
        (0.5, 0),
        (0, -4),
        xycoords=ax.xaxis.label,
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=SMALL,
        color=FAINT,
        parse_math=False,
        annotation_clip=False,
        gid=NOTES,
    )


def notes_of(ax: Axes) -> str:
    """Return what is written under a chart, in one line."""
    return " ".join(t.get_text().replace("\n", " ") for t in ax.texts if t.get_gid() == NOTES)


def bare_chart(ax: Axes) -> None:
    """Leave no text but the numbers of the axes."""
    ax.set(xlabel="", ylabel="", title="")


def label_layers(ax: Axes, index: pd.Index[Any]) -> None:
    """Tick the layers along the x axis, as far apart as their numbers are wide."""
    width = points(ax)[0] / max(1, len(index))
    texts = [shown(layer) for layer in index]
    apart = (max(map(len, texts)) + 1) * LETTER * FONT / width
    ticks = layer_ticks(len(texts), apart)
    ax.set_xticks(ticks, [texts[row] for row in ticks], fontsize=FONT, parse_math=False)
    ax.set_xlim(-0.5, len(texts) - 0.5)
    ax.set_xlabel("Layer", fontsize=FONT, color=INK, labelpad=2)


def number_heights(ax: Axes, label: str, *, log: bool = False) -> None:
    """Say what the y axis shows, with at most five round numbers."""
    if log:
        ax.set_yscale("log")
        ticks = log_ticks(*ax.get_ylim())
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_yticks(ticks, [tick_texts((tick,))[0] for tick in ticks])
    else:
        ticks = round_ticks(*ax.get_ylim())
        ax.set_yticks(ticks, tick_texts(ticks))
    ax.set_ylabel(label, fontsize=FONT, color=INK, labelpad=3, parse_math=False)


def log_ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """Return at most `most` powers of ten within; ones, twos and fives where there are few, ….

    >>> log_ticks(0.002, 40), log_ticks(3, 60)
    ((0.01, 0.1, 1.0, 10.0), (5.0, 10.0, 20.0, 50.0))
    >>> log_ticks(0.056, 0.27)
    (0.07, 0.1, 0.15, 0.2)
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**k for k in range(first, last + 1) if low <= 10.0**k <= high]
    if len(decades) > most:
        return tuple(decades[:: math.ceil(len(decades) / most)])
    found = decades
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        finer = [float(f"{m}e{k}") for k in range(first, last + 1) for m in steps]
        finer = [tick for tick in finer if low <= tick <= high]
        if len(found) < 3 and len(finer) <= most:
            found = finer
    return tuple(found) if len(found) > 2 else round_ticks(low, high)


def heights(values: Iterable[Array], *, log: bool = False) -> tuple[float, float]:
    """Return limits with some room around all finite numbers; around positive ones, if `log`."""
    joined = np.concatenate([np.ravel(one) for one in values])
    kept = joined[np.isfinite(joined) & (np.abs(joined) <= LARGEST)]
    if log:
        kept = np.log(kept[kept > 0])
    if not len(kept):
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(kept.min()), float(kept.max())
    room = 0.06 * (high - low) or abs(high) / 10 or 1.0
    return (math.exp(low - room), math.exp(high + room)) if log else (low - room, high + room)
