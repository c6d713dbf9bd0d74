"""How alike many fine-tunes are: a clustered matrix with its tree, and one for each component."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.analyses.finding import counted
from ftdiff.analyses.pairwise import COLUMNS
from ftdiff.analyses.similarity import Similarity, bias
from ftdiff.errors import BadCall, unknown
from ftdiff.naming import component_order
from ftdiff.plots.elements.axes import FONT, INK, SMALL, new_figure
from ftdiff.plots.elements.colours import Scale, scale_of, tick_texts
from ftdiff.plots.elements.labels import label_of, shown

# Up to this many fine-tunes, cells have room for their number.
_WRITTEN = 12
_LABELS = {
    "cosine": "cosine of ΔW",
    "cosine_unrounded": "cosine of ΔW before rounding, estimated",
}


def similarity(found: Similarity, number: str = "cosine", **where: Any) -> Figure:
    """Draw a matrix of all pairs, alike fine-tunes side by side, with the tree that ordered them.

    Parameters
    ----------
    found
        What `ftdiff.similarity` measured.
    number
        A number of pairs, as in `Similarity.by`. The tree and the order are always those of the
        cosine over all tensors.
    **where
        Only tensors with these values: `component="attn.q"`, `layer=3`, ….

    Returns
    -------
    Figure
        `figure.axes[0]` holds the rows' tree, the one named "matrix" the cells.

    Raises
    ------
    UnknownName, BadCall
        There is no such number, no such tensors, or nothing to draw.
    """
    values = found.table(number, **where)
    scale = _scale([values], number)
    size = max(3.9, min(1.9 + 0.34 * len(values), 13.0))
    with np.errstate(all="ignore"):
        grid = sns.clustermap(
            values.fillna(0.0),
            mask=values.isna(),
            row_linkage=found.groups.linkage,
            col_linkage=found.groups.linkage,
            cmap=scale.cmap,
            vmin=scale.vmin,
            vmax=scale.vmax,
            figsize=(size, size),
            dendrogram_ratio=0.16,
            cbar_pos=(0.02, 0.84, 0.035, 0.14),
            cbar_kws={"ticks": list(scale.ticks), "extend": scale.extend},
            linewidths=0.35,
            annot=values.map(_text) if len(values) <= _WRITTEN else None,
            fmt="",
            annot_kws={"fontsize": SMALL},
            xticklabels=False,
            yticklabels=False,
        )
    figure: Figure = grid.figure
    cells = grid.ax_heatmap
    cells.set_label("matrix")
    _name(cells, [*found.groups.order])
    cells.set(xlabel="", ylabel="")
    title = _LABELS.get(number, number)
    many = bias.pulled(found) if number == "cosine" else 0
    title += f" as stored; rounding biases {counted(many, 'pair')}" if many else ""
    kept = "".join(f" · {name} {value}" for name, value in where.items())
    grid.ax_col_dendrogram.set_title(
        f"{title}{kept}", fontsize=FONT + 1, color=INK, parse_math=False
    )
    bar = grid.ax_cbar
    bar.set_yticks(list(scale.ticks), tick_texts(scale.ticks), fontsize=SMALL)
    return _alone(figure)


def similarities(
    found: Similarity, number: str = "cosine", *, by: str = "component", most: int = 16
) -> Figure:
    """Draw the matrix of all pairs once for each component, or layer, on one scale, in one order.

    Parameters
    ----------
    found, number
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
    scale = _scale([values for _, values in kept], number)
    across = min(4, len(kept))
    down = math.ceil(len(kept) / across)
    each = max(0.9, min(0.16 * len(order), 3.0))
    figure = new_figure((1.6 + across * (each + 0.25), 0.5 + down * (each + 0.35)))
    grid = figure.subplots(down, across, squeeze=False)
    for ax, one in zip(grid.flat, [*kept, *[None] * (down * across - len(kept))], strict=True):
        if one is None:
            ax.set_axis_off()
            continue
        name, values = one
        ax.imshow(values.to_numpy(), cmap=scale.cmap, vmin=scale.vmin, vmax=scale.vmax)
        ax.set_title(label_of(name) if by == "component" else f"{by} {name}", fontsize=FONT,
                     color=INK, parse_math=False, pad=2)  # fmt: skip
        ax.set(xticks=[], yticks=[])
    for ax in grid[:, 0]:
        ax.set_yticks(range(len(order)), [shown(n, 18) for n in order], fontsize=SMALL,
                      parse_math=False)  # fmt: skip
        ax.tick_params(length=0)
    image = grid.flat[0].images[0]
    bar = figure.colorbar(image, ax=[*grid.flat], shrink=0.8, ticks=list(scale.ticks),
                          extend=scale.extend)  # fmt: skip
    bar.set_ticks(list(scale.ticks), labels=tick_texts(scale.ticks))
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(_LABELS.get(number, number), fontsize=FONT, color=INK, parse_math=False)
    return figure


def _largest(found: Similarity, by: str, most: int) -> list[Any]:
    """Return the values of a column whose tensors hold most entries, in their own order."""
    if by not in found.tensors:
        raise unknown("column", by, COLUMNS)
    sizes = found.tensors.dropna(subset=[by]).groupby(by)["numel"].sum()
    largest = [*sizes.sort_values(ascending=False, kind="stable").index[:most]]
    return component_order(largest) if by == "component" else sorted(largest)


def _scale(tables: list[pd.DataFrame], number: str) -> Scale:
    """Choose limits from the pairs: what a fine-tune has in common with itself is no news."""
    pairs = np.concatenate([_off_diagonal(values) for values in tables])
    if not len(pairs):
        raise BadCall(f"nothing to draw: no pair has a {number}")
    if pairs.min() < 0 or number == "cosine":
        most = max(float(np.abs(pairs).max()), 0.01)
        most = 1.0 if most > 0.9 else most
        whole = np.concatenate([values.to_numpy().ravel() for values in tables])
        return scale_of(whole, vmin=-most, vmax=most, center=0.0)
    return scale_of(pairs, "GnBu")


def _off_diagonal(values: pd.DataFrame) -> Any:
    array = values.to_numpy(float)
    pairs = array[~np.eye(len(array), dtype=bool)]
    return pairs[np.isfinite(pairs)]


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")


def _name(ax: Axes, names: list[str]) -> None:
    """Name rows and columns where the names have room."""
    texts = [shown(name, 24) for name in names]
    middles = [i + 0.5 for i in range(len(names))]
    every = max(1, math.ceil(len(names) / 60))
    ax.set_yticks(middles[::every], texts[::every], fontsize=FONT, rotation=0, parse_math=False)
    ax.set_xticks(middles[::every], texts[::every], fontsize=FONT, rotation=90, parse_math=False)
    ax.tick_params(length=0, colors=INK)


def _alone(figure: Figure) -> Figure:
    """Let pyplot forget a figure that no notebook shows, so that nothing piles up."""
    if "ipykernel" not in sys.modules:
        from matplotlib import pyplot

        pyplot.close(figure)
    return figure
