"""Several maps in one figure: on one shared scale with one colour bar, or each on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from ftdiff.comparison.result import Diff
from ftdiff.comparison.shown_metric import USUAL
from ftdiff.errors import BadCall
from ftdiff.plots.elements import axes as canvas
from ftdiff.plots.elements.axes import FAINT, FONT, INK, LETTER, SMALL
from ftdiff.plots.elements.cells import dress_bar, explain_bar, mesh_of, values_of
from ftdiff.plots.elements.colours import extended
from ftdiff.plots.elements.labels import distinct
from ftdiff.plots.elements.titles import Title, of_base, titled
from ftdiff.plots.figures.registry import FIGURES, draw_as
from ftdiff.plots.figures.shared_scale import common_metric, limits, of_towers, unseen_maps
from ftdiff.plots.figures.towers import sibling_towers

__all__ = ["WIDTH", "facets", "mesh_of"]

#: Inches: letters stay readable in a column of 380 pixels.
WIDTH = 4.6
# Letters of a fine-tune's name beside a stack's.
_NAME = 32


def facets(
    diffs: Sequence[Diff | pd.DataFrame],
    metric: str | None = None,
    *,
    style: str = "modules",
    shared: bool = True,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    title: Title = None,
    **options: Any,
) -> Figure:
    """Draw several maps side by side; of models of several stacks a line of maps for each stack.

    Parameters
    ----------
    diffs
        Fine-tunes of one base, or any diffs or matrices.
    metric, style, **options
        As for `heatmap`; the style may be "heads" too.
    shared
        One scale for all, and one colour bar that says so; else each has its own.
    titles
        A text over each; by default what was tuned.
    columns
        Maps side by side; by default three, or two where each has a bar of its own.
    title
        Over all; by default how many fine-tunes there are of which base; False for none.

    Returns
    -------
    Figure
        The maps are its first Axes, in order.

    Raises
    ------
    UnknownName, BadCall
        As for `limits`; or there are not as many titles as diffs.
    """
    if titles is None:
        titles = [_title(one, at) for at, one in enumerate(diffs)]
    if len(titles) != len(diffs):
        raise BadCall(f"{len(titles)} titles for {len(diffs)} maps")
    metric = common_metric(diffs) if metric is None and len(diffs) else metric
    if shared and metric is not None and of_towers(diffs, style, options):
        named = dict(zip(distinct(titles, _NAME), diffs, strict=True))
        over = titled(title, _over(diffs))
        return sibling_towers(named, metric, title=over, **options)  # type: ignore[arg-type]
    if shared:
        options = {**options, **_scale(diffs, metric, style, options)}
    across = columns or min(3 if shared else 2, len(diffs))
    if columns is None and len(diffs) > across:  # rows of equal length: four are two by two
        across = math.ceil(len(diffs) / math.ceil(len(diffs) / across))
    down = math.ceil(len(diffs) / across)
    figure = canvas.new_figure((WIDTH, min(down * _tall(_layers(diffs), 1.0), 40.0)))
    layout = figure.get_layout_engine()
    figure.set_layout_engine("none")  # a layout half-way would measure maps without their labels
    room = {"left": 0.06, "right": 1.0, "wspace": 0.08}
    grid = figure.subplots(down, across, squeeze=False, gridspec_kw=room)
    places: list[Axes] = list(grid.ravel())
    for spare in places[len(diffs) :]:
        spare.remove()
    maps = places[: len(diffs)]
    for one, name, ax in zip(diffs, distinct(titles, _letters(across)), maps, strict=True):
        with canvas.alone(ax):
            draw_as(style, FIGURES[style], one, metric, ax=ax, **{**options, "title": name})
    _shared_labels(figure, maps, across, shared=shared)
    if shared:
        _one_bar(figure, maps)
    if not _bare(maps):
        figure.suptitle(titled(title, _over(diffs)), fontsize=FONT + 1, color=INK, parse_math=False)
    _grown(figure, maps, down)
    figure.set_layout_engine(layout)
    return figure


def _scale(
    diffs: Sequence[Diff | pd.DataFrame], metric: str | None, style: str, options: dict[str, Any]
) -> dict[str, float]:
    """Return the limits that all share; none where nothing moved."""
    if len(diffs) and not unseen_maps(diffs, metric or USUAL, style, options):
        return {}
    return limits(diffs, metric, style=style, **options)


def _over(diffs: Sequence[Diff | pd.DataFrame]) -> str:
    """Return the title of all: of how many fine-tunes of which base."""
    bases = {str(one.about.get("base") or "") if isinstance(one, Diff) else "" for one in diffs}
    base = bases.pop() if len(bases) == 1 else ""
    return of_base(len(diffs), "fine-tunes", {"base": base}) if base and len(diffs) > 1 else ""


def _title(one: Diff | pd.DataFrame, at: int) -> str:
    if isinstance(one, Diff) and one.about.get("tuned"):
        return str(one.about["tuned"]).rstrip("/").rpartition("/")[2]
    return f"{at + 1}"


def _letters(across: int) -> int:
    """Return how many letters fit over a map."""
    return max(8, int(WIDTH * 72 / across / (LETTER * (FONT + 1)) - 4))


def _grown(figure: Figure, maps: Sequence[Axes], down: int) -> None:
    """Make the figure as high as its maps and their labels need."""
    rows = max((len(values_of(mesh_of(ax))) for ax in maps if ax.collections), default=4)
    names = max((len(text.get_text()) for ax in maps for text in ax.get_xticklabels()), default=0)
    labels = 0.5 + min(names, 40) * LETTER * FONT / 72
    figure.set_size_inches(WIDTH, min(down * _tall(rows, labels) + 0.3, 40.0))


def _layers(diffs: Sequence[Diff | pd.DataFrame]) -> int:
    """Return about how many rows the tallest map has."""
    return max(
        len(one) if isinstance(one, pd.DataFrame) else one.frame["layer"].nunique() for one in diffs
    )


def _tall(rows: int, labels: float) -> float:
    return max(1.6, min(canvas.row_height(rows) * rows, 6.0) + labels)


def _shared_labels(figure: Figure, maps: Sequence[Axes], across: int, *, shared: bool) -> None:
    """Say once what is the same for all: layers at the left, and notes below."""
    same = len({tuple(t.get_text() for t in ax.get_yticklabels()) for ax in maps}) == 1
    said = [
        [note for note in ax.get_xlabel().replace("\n", " ").split(" · ") if note] for ax in maps
    ]
    common = [note for note in said[0] if all(note in others for others in said)]
    for at, (ax, notes) in enumerate(zip(maps, said, strict=True)):
        if at % across:
            ax.set_ylabel("")
            if same:
                ax.set_yticklabels([])
        title = ax.get_title()
        canvas.caption(ax, title, [note for note in notes if note not in common])
    if not _bare(maps):
        common.append("one scale for all" if shared else "each map has its own scale")
        letters = int(WIDTH * 72 / (LETTER * SMALL))
        figure.supxlabel(
            canvas.wrapped(common, letters), fontsize=SMALL, color=FAINT, parse_math=False
        )


def _bare(maps: Sequence[Axes]) -> bool:
    """Say whether the maps were drawn without words."""
    return not any(ax.get_xticklabels() for ax in maps)


def _one_bar(figure: Figure, maps: Sequence[Axes]) -> None:
    """Put one colour bar in the place of each map's own."""
    meshes = [mesh_of(ax) for ax in maps if ax.collections]
    own = [mesh.colorbar for mesh in meshes if isinstance(mesh.colorbar, Colorbar)]
    if not own:
        return
    white = own[0].ax.get_xlabel().replace("\n", " ").partition("white:")
    label, extends = own[0].ax.get_ylabel(), [bar.extend for bar in own]
    ticks = [float(tick) for tick in own[0].get_ticks()]
    for bar in own:
        bar.remove()
    bar = figure.colorbar(meshes[0], ax=list(maps), extend=extended(extends), pad=0.02, aspect=34)
    dress_bar(bar, ticks, label)
    if label:
        explain_bar(bar, "".join(white[1:]), map(values_of, meshes))
