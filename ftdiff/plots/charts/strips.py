"""Rows, columns or tokens of a tensor as a strip: where along it the change is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS
from ftdiff.naming.token_text import readable
from ftdiff.plots.charts.axes import WIDTH
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.axes import FAINT, FONT, INK, SMALL
from ftdiff.plots.elements.colours import narrowness, round_ticks, tick_texts
from ftdiff.plots.elements.labels import label_of, shown
from ftdiff.plots.elements.options import check
from ftdiff.plots.elements.rules import scale_for
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.plots.heatmaps.matrix import Matrix, bounded, default_metric, doubts
from ftdiff.tensors import Array

#: The gid of the marks over the parts that have the largest values.
TOP = "largest"
#: The share of a strip's height that is left for their names.
ROOM = 0.36
# Cells of one strip, and strips of one figure, at most.
_BINS, _STRIPS = 240, 24
# The share of a strip that one mark's text takes.
_APART = 0.14


def strips(
    diff: Diff,
    metric: str | None = None,
    *,
    ax: Axes | None = None,
    top: int = 3,
    center: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    robust: bool = False,
    cmap: Colormap | str | None = None,
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Axes:
    """Draw a strip for each tensor, from its first row (or column, or token) to its last.

    Parameters
    ----------
    diff
        What `ftdiff.parts.rows`, `columns` or `tokens` returns.
    metric, ax
        As for `heatmap`; the metric is one of sums.
    top
        How many of the largest parts are named over each strip, where they are apart.
    center, vmin, vmax, robust, cmap, title, bare, **seaborn
        As for the style "modules".

    Notes
    -----
    A strip has 240 cells at most. Where a tensor has more rows than that, a cell shows the largest
    value of its rows, so that none is averaged away.

    Raises
    ------
    UnknownName
        No metric has that name.
    BadCall
        The diff has no rows, columns or tokens, or none moved.
    """
    check("strips", strips, seaborn)
    metric = default_metric(diff) if metric is None else metric
    word, parts = parts_of(diff, metric)
    sizes = parts.groupby("tensor", sort=False)["place"].max() + 1
    if len(sizes) > _STRIPS:
        raise BadCall(f"{len(sizes)} tensors are too many strips, {_STRIPS} is the most")
    bins = min(_BINS, int(sizes.max()))
    matrix = _binned(parts, sizes, bins, metric)
    values = matrix.values
    array = values.to_numpy()
    limits = {"vmin": vmin, "vmax": vmax, "center": center}
    scale = scale_for(metric, array, cmap=cmap, robust=robust, **limits)
    scale = (
        scale
        if scale.norm is not None
        else replace(scale, ticks=round_ticks(scale.vmin, scale.vmax, min(5, 2 + len(sizes))))
    )
    if ax is None:
        height = max(1.5, min(0.8 + 0.42 * len(sizes), 13.5))
        ax = canvas.new_figure((WIDTH, height)).add_subplot()
    cells.paint(ax, values, scale, matrix.label, bare=bare, **seaborn)
    cells.hatch(ax, matrix.doubtful)
    ax.set_ylim(len(sizes), 0)
    for lane in range(len(sizes)):  # white over the upper part of each strip: room for names
        ax.axhspan(lane, lane + ROOM, color="white", linewidth=0, zorder=2.5)
    next(patch for patch in ax.patches if patch.get_gid() == cells.FRAME).remove()
    ax.spines[["left", "right", "top", "bottom"]].set_visible(False)
    if bare:
        ax.set(xticks=[], yticks=[])
        return ax
    _number_places(ax, sizes, bins)
    _name_top(ax, parts, sizes, bins, top)
    said = [_name(parts, str(tensor)) for tensor in sizes.index] if len(sizes) > 1 else []
    ax.set_yticks(
        [lane + (1 + ROOM) / 2 for lane in range(len(said))], said, fontsize=FONT, parse_math=False
    )
    ax.tick_params(axis="y", length=0, rotation=0, colors=INK)
    each = math.ceil(int(sizes.max()) / bins)
    notes = [narrowness(array, scale)]
    notes.append(
        f"a cell is the largest of up to {each} {word}s" if each > 1 else f"a cell is a {word}"
    )
    own = own_title(diff.about, *([shown(sizes.index[0], 60)] if len(sizes) == 1 else []))
    canvas.caption(ax, titled(title, own), [note for note in [*notes, *matrix.legend()] if note])
    return ax


def parts_of(diff: Diff, metric: str) -> tuple[str, pd.DataFrame]:
    """Return what the parts are called, and a row for each: tensor, place, name, value, snr."""
    if not isinstance(diff, Diff):
        raise BadCall(f"strips are of a Diff, this is {type(diff).__name__}")
    frame = diff.frame
    word = next((w for w in ("row", "column") if w in frame and frame[w].notna().any()), "")
    if not word:
        raise BadCall("this diff has no rows: draw what `ftdiff parts --by row` measured")
    if METRICS[metric].needs != "sums":
        raise BadCall(f"{metric} does not come from sums, so parts of tensors have none")
    named = "token" in frame and bool(frame["token"].notna().any())
    found = pd.DataFrame(
        {
            "tensor": frame["tensor"].astype(str),
            "place": frame[word],
            "name": _texts(frame["token"]) if named else frame[word].astype("string"),
            "value": _column(frame, metric),
            "snr": _column(frame, "snr"),
            "layer": frame["layer"],
            "component": frame["component"],
        }
    ).dropna(subset=["place"])
    if not np.isfinite(found["value"]).any():
        raise BadCall(f"nothing to draw: {metric} has no value in any {word}")
    return "token" if named else word, found.astype({"place": int})


def _texts(tokens: pd.Series[Any]) -> pd.Series[Any]:
    """Return tokens as the text that they stand for."""
    known = tokens.dropna()
    texts = pd.Series(readable(map(str, known)), known.index, dtype="string")
    return texts.reindex(tokens.index)


def _column(frame: pd.DataFrame, metric: str) -> Array:
    if metric not in frame:
        raise BadCall(f"{metric} was not kept in this diff: measure again with -m {metric}")
    return frame[metric].to_numpy(np.float64, na_value=np.nan)


def _binned(parts: pd.DataFrame, sizes: pd.Series[int], bins: int, metric: str) -> Matrix:
    """Return tensors × cells: of each cell the row whose value is the largest in size."""
    lanes: dict[str, list[Array]] = {"value": [], "snr": []}
    for tensor, size in sizes.items():
        mine = parts[parts["tensor"] == tensor].drop_duplicates("place").set_index("place")
        mine = mine.reindex(range(size))
        at = _largest(mine["value"].to_numpy(float), bins)
        for name, found in lanes.items():
            found.append(mine[name].to_numpy(float)[at])
    wide = {name: pd.DataFrame(np.stack(found)) for name, found in lanes.items()}
    doubtful = doubts(wide["snr"], wide["value"])
    return bounded(Matrix(wide["value"], METRICS[metric].label, doubtful))


def _largest(values: Array, bins: int) -> Array:
    """Return which value each cell shows; the same one in several, if there are fewer values.

    >>> _largest(np.array([1.0, -3.0, np.nan, 2.0]), 2).tolist()
    [1, 3]
    """
    size = len(values)
    if size <= bins:
        return np.arange(bins) * size // bins
    cell = np.arange(size) * bins // size
    order = np.lexsort((np.nan_to_num(np.abs(values), nan=-1.0), cell))
    return order[np.searchsorted(cell, np.arange(bins), side="right") - 1]


def _number_places(ax: Axes, sizes: pd.Series[int], bins: int) -> None:
    """Tick the places by number; by share where the tensors differ in length."""
    if sizes.nunique() > 1:
        ax.set_xticks([0, bins / 2, bins], ["0 %", "50 %", "100 %"], fontsize=FONT)
    else:
        size = int(sizes.iloc[0])
        ticks = [t for t in round_ticks(0.0, float(size - 1 or 1)) if t == int(t)]
        at = [(tick + 0.5) * bins / size for tick in ticks]
        ax.set_xticks(at, tick_texts(tuple(ticks)), fontsize=FONT)
    ax.tick_params(axis="x", length=2, width=0.6, pad=2, colors=INK, rotation=0)


def _name_top(ax: Axes, parts: pd.DataFrame, sizes: pd.Series[int], bins: int, top: int) -> None:
    """Name the largest parts over their strip, as long as their names stay apart."""
    for lane, (tensor, size) in enumerate(sizes.items()):
        mine = parts[(parts["tensor"] == tensor) & parts["value"].notna()]
        mine = mine.assign(size=mine["value"].abs()).nlargest(50, "size")
        taken: list[float] = []
        for place, name in zip(mine["place"], mine["name"], strict=True):
            at = (place + 0.5) / size
            if len(taken) == top or any(abs(at - other) < _APART for other in taken):
                continue
            taken.append(at)
            ax.annotate(
                f"{shown(name, 12)}▾" if at > 0.9 else f"▾{shown(name, 12)}",
                (at * bins, lane + ROOM),
                (3 if at > 0.9 else -3, 0),
                textcoords="offset points",
                ha="right" if at > 0.9 else "left",
                va="bottom",
                fontsize=SMALL,
                color=FAINT,
                parse_math=False,
                annotation_clip=False,
                gid=TOP,
            )


def _name(parts: pd.DataFrame, tensor: str) -> str:
    first = parts[parts["tensor"] == tensor].iloc[0]
    if pd.isna(first["layer"]):
        return label_of(first["component"])
    return f"{int(first['layer'])} {label_of(first['component'])}"
