"""The coloured cells, their colour bar, and the marks upon them."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

from ftdiff.comparison.colour_range import few
from ftdiff.numbers import number
from ftdiff.plots.elements.axes import FAINT, FONT, INK, LETTER, SMALL, cell_points, points
from ftdiff.plots.elements.colours import Scale, tick_texts
from ftdiff.tensors import Array

#: Marks a reader (or a test, or a style sheet) finds by their gid.
FLOOR, OUTLINE, CHANCE, STRIP = "under-the-floor", "outlined", "chance", "whole-layer"
FRAME, BEYOND, STILL = "frame", "beyond", "nothing-moved"
#: The face of a cell that cannot be told from chance: darker than a missing one.
INDISTINCT = "#b9b9c2"
#: The line around a map.
FRAMED = "#a8a8b0"
_HATCH = (0.13, 0.13, 0.13, 0.6)
# Points between cells, and under which size of a cell they would eat it.
_LINE, _THIN = 0.35, 3.0
# Letters in a line at a colour bar, which is narrow; points by which it begins to its left.
_NARROW, _LEFT = 13, 8.0
# More cells than this are one picture in a file of vectors: each would take a line of it.
_MANY = 20_000


def paint(
    ax: Axes, values: pd.DataFrame, scale: Scale, label: str, *, bare: bool, **seaborn: Any
) -> QuadMesh:
    """Draw the cells and their colour bar; row 0 is at the bottom, column j spans j to j + 1.

    Keywords are `seaborn.heatmap`'s, instead of our own.
    """
    thin = min(cell_points(ax, *values.shape)) < _THIN
    limits: dict[str, Any] = {"vmin": scale.vmin, "vmax": scale.vmax}
    options: dict[str, Any] = {
        "cmap": scale.cmap,
        "linewidths": 0 if thin else _LINE,
        "linecolor": "white",
        "xticklabels": False,
        "yticklabels": False,
        **(limits if scale.norm is None else {"norm": scale.norm}),
        **_annotated(ax, values, scale, seaborn),
    }
    bar = {"extend": scale.extend, "pad": 0.03, "aspect": 34, "ticks": list(scale.ticks)}
    options["cbar_kws"] = bar | dict(options.get("cbar_kws") or {})
    sns.heatmap(values, ax=ax, **options)
    rows, columns = values.shape
    ax.set(ylim=(0, rows), xlabel="", ylabel="")
    frame = Rectangle((0, 0), columns, rows, fill=False, linewidth=0.5, edgecolor=FRAMED, zorder=2)
    ax.add_patch(frame).set(clip_on=False, gid=FRAME)  # so that white cells end somewhere
    mesh = ax.collections[-1]
    assert isinstance(mesh, QuadMesh)
    mesh.set_rasterized(values.size > _MANY)
    if mesh.colorbar is not None:
        dress_bar(mesh.colorbar, scale.ticks, "" if bare else label)
        if not bare:
            explain_bar(mesh.colorbar, scale.white, [values.to_numpy()])
    return mesh


def _annotated(
    ax: Axes, values: pd.DataFrame, scale: Scale, seaborn: dict[str, Any]
) -> dict[str, Any]:
    """Return seaborn's options; numbers in cells are small, and none is a negative zero."""
    if not isinstance(seaborn.get("annot"), bool) or not seaborn["annot"]:
        return seaborn
    form = seaborn.get("fmt")
    written = _writer(scale) if form is None else lambda value: plain(value, str(form))
    width, height = cell_points(ax, *values.shape)
    texts = values.map(lambda value: "" if np.isnan(value) else written(value))
    longest = max(int(texts.map(len).to_numpy().max()), 1)
    size = max(3.5, min(SMALL, 0.9 * width / (longest * LETTER), 0.75 * height))
    fonts = {"fontsize": size} | dict(seaborn.get("annot_kws") or {})
    return {**seaborn, "annot": texts, "fmt": "", "annot_kws": fonts}


def _writer(scale: Scale) -> Callable[[float], str]:
    """Return what writes numbers in cells: two digits of those that the colours tell apart.

    All maps of one scale have one format. A number far beyond the colours, and each where colours
    go by ratios, has two digits of its own.
    """
    if scale.norm is not None:
        return brief
    ends = scale.ticks if len(scale.ticks) == 1 else (scale.vmin, scale.vmax)
    form, most = two_digits(np.array(ends, float)), 10 * max(map(abs, ends))
    return lambda value: plain(value, form) if abs(value) < most or not most else brief(value)


def brief(value: float) -> str:
    """Write two digits of a number, with a true minus.

    >>> brief(31.4159), brief(-0.00342), brief(12345.6)
    ('31', '−0.0034', '12,000')
    """
    return number(value, 2)


def mesh_of(ax: Axes) -> QuadMesh:
    """Return the cells of a map."""
    mesh = ax.collections[0]
    assert isinstance(mesh, QuadMesh)
    return mesh


def values_of(mesh: QuadMesh) -> Array:
    """Return the numbers of a map's cells, NaN where there is none."""
    values: Array = np.ma.filled(np.ma.asarray(mesh.get_array(), float), np.nan)
    return values


def two_digits(values: Array) -> str:
    """Return the format that gives the largest of these numbers two digits, and all as many places.

    >>> two_digits(np.array([0.04, 0.069])), two_digits(np.array([3.0, 250.0]))
    ('.3f', '.0f')
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if len(finite) else 0.0
    if not 1e-4 <= largest < 1e6:
        return ".1f" if not largest else ".1e"
    return f".{max(0, 1 - math.floor(math.log10(largest)))}f"


def plain(value: float, form: str) -> str:
    """Write a number with a true minus; what is rounded to nothing has no sign.

    >>> plain(-0.001, ".2f"), plain(-0.25, ".2f")
    ('0.00', '−0.25')
    """
    text = format(value, form)
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−", 1)


def dress_bar(bar: Colorbar, ticks: Sequence[float], label: str) -> None:
    """Write a colour bar's numbers and what they are."""
    ratios = isinstance(bar.norm, LogNorm)
    each = [text for tick in ticks for text in tick_texts((tick,))]
    bar.set_ticks(list(ticks), labels=each if ratios else tick_texts(tuple(ticks)))
    bar.ax.tick_params(labelsize=FONT, length=2, width=0.6, colors=INK)
    bar.minorticks_off()
    bar.outline.set(linewidth=0.4, edgecolor=FRAMED)
    bar.set_label(label, fontsize=FONT, color=INK, parse_math=False)


def explain_bar(bar: Colorbar, white: str, drawn: Iterable[Array]) -> None:
    """Write at a bar which number is white, and at its arrows how many cells are beyond."""
    below, above = clipped(drawn, *map(float, bar.mappable.get_clim()))
    style: dict[str, Any] = {"fontsize": SMALL, "color": FAINT, "loc": "left", "parse_math": False}
    if above:
        bar.ax.set_title(_narrow(above), pad=3, **style)
    under = "\n".join(_narrow(text) for text in (below, white) if text)
    if under:
        bar.ax.set_xlabel(under, labelpad=4, **style)
        words, figure = bar.ax.xaxis.label, bar.ax.get_figure()
        if figure is not None:  # a little to the left, so that they end where the bar's label does
            left = ScaledTranslation(-_LEFT / 72, 0, figure.dpi_scale_trans)
            words.set_transform(words.get_transform() + left)


def _narrow(text: str) -> str:
    """Break a text into lines as narrow as a bar, but for a number and the word before it."""
    held = re.sub(r"(to|from|white:) (?=[\d−-])", "\\1\u00a0", text)
    return "\n".join(textwrap.wrap(held, _NARROW, break_long_words=False)).replace("\u00a0", " ")


def clipped(drawn: Iterable[Array], low: float, high: float) -> tuple[str, str]:
    """Say how many cells are below the colours, and how many above, and how far they go.

    >>> clipped([np.array([1.0, 2.0, 9.0])], 1.0, 3.0)
    ('', '1 cell above, to 9')
    """
    values = np.concatenate([np.ravel(one) for one in drawn])
    values = values[np.isfinite(values)]
    under, over = values[values < low], values[values > high]
    said = [
        f"{len(part)} cell{'' if len(part) == 1 else 's'} {word} {end(part):.2g}"
        if len(part)
        else ""
        for part, word, end in ((under, "below, from", np.min), (over, "above, to", np.max))
    ]
    return said[0], said[1]


def say_still(ax: Axes, sentence: str) -> None:
    """Write in the place of a map that nothing moved."""
    ax.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    ax.spines[:].set(linewidth=0.5, color=FRAMED)
    ax.set_facecolor("#f7f7f9")
    letters = max(8, int(0.9 * points(ax)[0] / (LETTER * FONT)))
    ax.text(
        0.5,
        0.5,
        "\n".join(textwrap.wrap(sentence, letters)),
        fontsize=FONT,
        color=INK,
        ha="center",
        va="center",
        parse_math=False,
        gid=STILL,
    )


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
            *(x + 0.5, y + 0.5, brief(array[y, x])), color="white", size=SMALL, gid=BEYOND
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
