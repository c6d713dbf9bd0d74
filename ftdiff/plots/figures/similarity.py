"""How alike many fine-tunes are: a clustered matrix with its tree, and one for each component."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from ftdiff.analyses.finding import counted
from ftdiff.analyses.pairwise import COLUMNS
from ftdiff.analyses.similarity import Similarity, bias
from ftdiff.errors import BadCall, UnknownName, unknown
from ftdiff.naming import component_order
from ftdiff.plots.charts.axes import NOISE
from ftdiff.plots.elements.axes import FAINT, FONT, INK, LETTER, SMALL, new_figure, wrapped
from ftdiff.plots.elements.cells import FRAMED, dress_bar, explain_bar, plain
from ftdiff.plots.elements.colours import BLUE_WHITE_ORANGE, SEQUENTIAL_BLUE, Scale, scale_of
from ftdiff.plots.elements.labels import column_labels, distinct
from ftdiff.plots.elements.titles import Title, of_base, titled

# Up to this many fine-tunes, cells have room for their number.
_WRITTEN = 12
# The tree's share of the width, and inches for the colour bar and its texts.
_TREE, _BAR = 0.14, 0.75
_LABELS = {
    "cosine": "cosine of ΔW",
    "cosine_unrounded": "cosine of ΔW before rounding, estimated",
}


def similarity(
    found: Similarity,
    number: str = "cosine",
    *,
    title: Title = None,
    cmap: Colormap | str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    annot: bool | None = None,
    **where: Any,
) -> Figure:
    """Draw a matrix of all pairs, alike fine-tunes side by side, with the tree that ordered them.

    Parameters
    ----------
    found
        What `ftdiff.similarity` measured.
    number
        A number of pairs, as in `Similarity.by`. The tree and the order are always those of the
        cosine over all tensors.
    title
        Text above; by default how many fine-tunes there are of which base; False for none.
    cmap, vmin, vmax, annot
        Other colours and limits, as for the style "modules"; whether cells hold their numbers, by
        default where there are few.
    **where
        Only tensors with these values: `component="attn.q"`, `layer=3`, ….

    Returns
    -------
    Figure
        `figure.axes[0]` holds the rows' tree, the one named "matrix" the cells; lines on the colour
        bar, with the gid "noise", are as far from 0 as chance gives.

    Raises
    ------
    UnknownName, BadCall
        There is no such number, no such tensors, or nothing to draw.
    """
    values = found.table(number, **where)
    scale = _scale([values], number, cmap, vmin, vmax)
    written = len(values) <= _WRITTEN if annot is None else annot
    names = distinct(found.groups.order, 24)
    side = max(2.2, min(0.9 + 0.34 * len(values), 12.0))
    room = max(map(len, names)) * LETTER * FONT / 72 + 0.12
    width, height = side / (1 - _TREE) + room + _BAR, side + 0.3
    with np.errstate(all="ignore"):
        grid = sns.clustermap(
            values.fillna(0.0),
            mask=values.isna(),
            row_linkage=found.groups.linkage,
            col_linkage=found.groups.linkage,
            cmap=scale.cmap,
            vmin=scale.vmin,
            vmax=scale.vmax,
            figsize=(width, height),
            dendrogram_ratio=(_TREE, 0.02),
            cbar_kws={"ticks": list(scale.ticks), "extend": scale.extend},
            linewidths=0.35,
            annot=values.map(_text) if written else None,
            fmt="",
            annot_kws={"fontsize": SMALL},
            xticklabels=False,
            yticklabels=False,
            tree_kws={"colors": FAINT, "linewidths": 0.8},
        )
    figure: Figure = grid.figure
    grid.ax_col_dendrogram.set_visible(False)  # the rows' tree is the same
    grid.gs.update(left=0.01, right=1 - (room + _BAR) / width, bottom=0.02, top=side / height)
    grid.ax_cbar.set_position((1 - (_BAR - 0.1) / width, 0.02, 0.1 / width, side / height - 0.02))
    cells = grid.ax_heatmap
    cells.set_label("matrix")
    _name(cells, names)
    cells.set(xlabel="", ylabel="")
    kept = [f"{name} {value}" for name, value in where.items()]
    own = " · ".join([of_base(len(values), "fine-tunes", found.about), *kept])
    cells.set_title(titled(title, own), fontsize=FONT + 1, color=INK, pad=6, parse_math=False)
    bar = cells.collections[0].colorbar
    chance = _chance(found, number, where)
    _dress(bar, scale, number, [_off_diagonal(values)], chance)
    cells.set_xlabel(
        wrapped(_said(found, number, chance), max(24, int(side * 72 / (LETTER * SMALL)))),
        fontsize=SMALL, color=FAINT, labelpad=5, parse_math=False,
    )  # fmt: skip
    return _alone(figure)


def similarities(
    found: Similarity,
    number: str = "cosine",
    *,
    by: str = "component",
    most: int = 16,
    title: Title = None,
    cmap: Colormap | str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure:
    """Draw the matrix of all pairs once for each component, or layer, on one scale, in one order.

    Parameters
    ----------
    found, number, title, cmap, vmin, vmax
        As for `similarity`.
    by
        A column of `Similarity.tensors`: "component", "layer", "block", ….
    most
        How many at most: those whose tensors hold most entries.

    Raises
    ------
    UnknownName, BadCall
        There is no such number or column, or nothing to draw.
    """
    names = _largest(found, by, most)
    order = [*found.groups.order]
    tables = [found.table(number, **{by: name}).loc[order, order] for name in names]
    kept = [(n, t) for n, t in zip(names, tables, strict=True) if _off_diagonal(t).size]
    if not kept:
        raise BadCall(f"nothing to draw: no {number} by {by}")
    scale = _scale([values for _, values in kept], number, cmap, vmin, vmax)
    across = min(4, len(kept))
    down = math.ceil(len(kept) / across)
    each = max(0.9, min(0.16 * len(order), 3.0))
    figure = new_figure((1.6 + across * (each + 0.25), 0.9 + down * (each + 0.35)))
    grid = figure.subplots(down, across, squeeze=False)
    texts = column_labels([name for name, _ in kept]) if by == "component" else [
        f"{by} {name}" for name, _ in kept
    ]  # fmt: skip
    for ax, one in zip(grid.flat, [*kept, *[None] * (down * across - len(kept))], strict=True):
        if one is None:
            ax.set_axis_off()
            continue
        ax.imshow(one[1].to_numpy(), cmap=scale.cmap, vmin=scale.vmin, vmax=scale.vmax)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(linewidth=0.5, color=FRAMED)
    for ax, text in zip(grid.flat, texts, strict=False):
        ax.set_title(text, fontsize=FONT, color=INK, parse_math=False, pad=3)
    for ax in grid[:, 0]:
        ax.set_yticks(range(len(order)), distinct(order, 18), fontsize=SMALL, parse_math=False)
        ax.tick_params(length=0, colors=INK)
    image = grid.flat[0].images[0]
    bar = figure.colorbar(
        image, ax=[*grid.flat], shrink=0.8, extend=scale.extend, pad=0.02, aspect=34
    )
    chance = _chance(found, number, {})
    _dress(bar, scale, number, [_off_diagonal(values) for _, values in kept], None)
    own = of_base(len(order), "fine-tunes", found.about)
    figure.suptitle(titled(title, own), fontsize=FONT + 1, color=INK, parse_math=False)
    said = [*_said(found, number, None), "one scale and one order for all"]
    if chance is not None:
        said.insert(0, f"chance over all tensors: ±{chance:.2g}")
    letters = max(24, int(figure.get_size_inches()[0] * 72 / (LETTER * SMALL)))
    figure.supxlabel(wrapped(said, letters), fontsize=SMALL, color=FAINT, parse_math=False)
    return figure


def _chance(found: Similarity, number: str, where: Mapping[str, Any]) -> float | None:
    """Return how far from 0 chance puts a pair, one standard deviation: the median of all pairs."""
    try:
        null = _off_diagonal(found.table(f"{number}_null", **where))
    except UnknownName:
        return None
    return float(np.median(null)) if len(null) else None


def _dress(bar: Any, scale: Scale, number: str, drawn: list[Any], chance: float | None) -> None:
    """Write a bar's numbers and what white is, and mark how far chance reaches."""
    dress_bar(bar, scale.ticks, _LABELS.get(number, number.replace("_", " ")))
    explain_bar(bar, scale.white, drawn)
    for level in () if chance is None else (-chance, chance):
        if scale.vmin <= level <= scale.vmax:
            bar.ax.axhline(level, color=INK, linewidth=0.7, linestyle=(0, (2, 1)), gid=NOISE)


def _said(found: Similarity, number: str, chance: float | None) -> list[str]:
    """Return what a reader has to know, as short clauses."""
    said = []
    if chance is not None:
        said.append(f"chance: ±{chance:.2g}, dashed on the bar")
    many = bias.pulled(found) if number == "cosine" else 0
    if many:
        said.append(f"as stored; rounding biases {counted(many, 'pair')}")
    if number == "cosine" and len(found.names) > 2:
        said.append("order and tree: the cosines over all tensors")
    return said


def _largest(found: Similarity, by: str, most: int) -> list[Any]:
    """Return the values of a column whose tensors hold most entries, in their own order."""
    if by not in found.tensors:
        raise unknown("column", by, COLUMNS)
    sizes = found.tensors.dropna(subset=[by]).groupby(by)["numel"].sum()
    largest = [*sizes.sort_values(ascending=False, kind="stable").index[:most]]
    return component_order(largest) if by == "component" else sorted(largest)


def _scale(
    tables: list[pd.DataFrame],
    number: str,
    cmap: Colormap | str | None,
    vmin: float | None,
    vmax: float | None,
) -> Scale:
    """Choose limits from the pairs: what a fine-tune has in common with itself is no news."""
    pairs = np.concatenate([_off_diagonal(values) for values in tables])
    if not len(pairs):
        raise BadCall(f"nothing to draw: no pair has a {number}")
    whole = np.concatenate([values.to_numpy(float).ravel() for values in tables])
    most = max(float(np.abs(pairs).max()), 0.01)
    cosine = number.startswith("cosine") and not number.endswith("_error")
    most = 1.0 if cosine and most > 0.9 else most
    if pairs.min() < 0:
        low, high = (-most if vmin is None else vmin), (most if vmax is None else vmax)
        return scale_of(whole, cmap or BLUE_WHITE_ORANGE, vmin=low, vmax=high, center=0.0)
    colours = cmap or SEQUENTIAL_BLUE
    if not cosine:
        return scale_of(pairs, colours, vmin=vmin, vmax=vmax)
    low, high = (0.0 if vmin is None else vmin), (most if vmax is None else vmax)
    return scale_of(whole, colours, vmin=low, vmax=high)


def _off_diagonal(values: pd.DataFrame) -> Any:
    array = values.to_numpy(float)
    pairs = array[~np.eye(len(array), dtype=bool)]
    return pairs[np.isfinite(pairs)]


def _text(value: float) -> str:
    return "" if math.isnan(value) else plain(value, ".2f")


def _name(ax: Axes, texts: list[str]) -> None:
    """Name rows and columns where the names have room."""
    middles = [i + 0.5 for i in range(len(texts))]
    every = max(1, math.ceil(len(texts) / 60))
    ax.set_yticks(middles[::every], texts[::every], fontsize=FONT, rotation=0, parse_math=False)
    ax.set_xticks(middles[::every], texts[::every], fontsize=FONT, rotation=90, parse_math=False)
    ax.tick_params(length=0, colors=INK)


def _alone(figure: Figure) -> Figure:
    """Let pyplot forget a figure that no notebook shows, so that nothing piles up."""
    if "ipykernel" not in sys.modules:
        from matplotlib import pyplot

        pyplot.close(figure)
    return figure
