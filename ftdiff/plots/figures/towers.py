"""A model of several stacks: a map for each, in the model's order, on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from ftdiff.analyses.finding import Finding
from ftdiff.comparison.result import Diff
from ftdiff.comparison.stack_names import stacks_of
from ftdiff.errors import BadCall
from ftdiff.naming.stack_order import stack_labels, stack_order
from ftdiff.plots.elements import cells
from ftdiff.plots.elements.axes import FONT, INK, alone
from ftdiff.plots.elements.colours import Scale
from ftdiff.plots.elements.labels import column_labels, component_of, distinct
from ftdiff.plots.elements.options import check
from ftdiff.plots.elements.outlines import Outlined, rows_of
from ftdiff.plots.elements.rules import scale_for
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.plots.figures.sheet import Sheet, Spot
from ftdiff.plots.heatmaps.matrix import Matrix, counted, default_metric, matrices_of, why_empty
from ftdiff.plots.heatmaps.modules import (
    Normalise,
    draw_cells,
    name_cells,
    prepared,
    rule_name,
)

# Letters of a stack's name over its map, and stacks of a figure: names in files decide how many.
_NAME, _MOST = 28, 24


def towers(
    diff: Diff,
    metric: str | None = None,
    *,
    others: bool | None = None,
    normalise: Normalise = "none",
    center: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Colormap | str | None = None,
    robust: bool = False,
    annot: Any = False,
    outline: Iterable[Outlined] = (),
    title: Title = None,
    bare: bool = False,
    **seaborn: Any,
) -> Figure:
    """Draw every stack of a diff side by side: layers × projections, one scale, one colour bar.

    Parameters
    ----------
    diff, metric
        As for `heatmap`.
    others, normalise, center, vmin, vmax, cmap, robust, annot, title, bare, **seaborn
        As for the style "modules", for all maps alike.
    outline
        Cells to frame, as (name of a row, component), or findings: each in its stack.

    Returns
    -------
    Figure
        The maps are its first Axes, in the model's order (down, mid, up; double, single; vision,
        language; encoder, decoder; text encoders last), each under its name; a stack in which
        nothing moved says so. The last Axes is the colour bar.

    Raises
    ------
    UnknownName, BadCall
        As for `heatmap`; or a cell to frame is in no stack.
    """
    check("modules", towers, seaborn)
    seaborn |= {"annot": annot}
    if not isinstance(diff, Diff):
        raise BadCall(f"towers are of a Diff, this is {type(diff).__name__}")
    metric = default_metric(diff) if metric is None else metric
    given = {"vmin": vmin, "vmax": vmax, "center": center, "robust": robust, "cmap": cmap}
    maps = _matrices(diff, metric, others, normalise)
    if not any(_has_cells(one) or one.still for one in maps.values()):
        raise BadCall(f"nothing to draw: {why_empty(diff, metric)}")
    over = titled(title, own_title(diff.about))
    more = len(stacks_of(diff)) - len(maps)
    said = [f"{more} more stacks moved less"] if more else []
    return _drawn([maps], normalise, given, [*outline], over, bare, seaborn, said)


def sibling_towers(
    diffs: Mapping[str, Diff],
    metric: str,
    *,
    others: bool | None = None,
    normalise: Normalise = "none",
    outline: Iterable[Outlined] = (),
    title: str = "",
    bare: bool = False,
    **given: Any,
) -> Figure:
    """Draw the stacks of several diffs, each diff in a line of its own, on one scale.

    Parameters
    ----------
    diffs
        By the name that stands over its maps.
    metric, others, normalise, outline, bare, **given
        As for `towers`.
    title
        Over all.
    """
    check("modules", towers, given)
    limits = {name: given.pop(name, None) for name in ("vmin", "vmax", "center", "cmap")}
    limits["robust"] = given.pop("robust", False)
    lines = [
        {
            f"{name} · {label}" if label else name: one
            for label, one in _matrices(diff, metric, others, normalise).items()
        }
        for name, diff in diffs.items()
    ]
    return _drawn(lines, normalise, limits, [*outline], title, bare, given)


def _drawn(
    lines: Sequence[Mapping[str, Matrix]],
    normalise: Normalise,
    limits: Mapping[str, Any],
    outline: Sequence[Outlined],
    title: str,
    bare: bool,
    seaborn: Mapping[str, Any],
    said: Sequence[str] = (),
) -> Figure:
    """Draw maps in lines, with one scale and one bar, a title above and notes below."""
    maps = {name: one for line in lines for name, one in line.items()}
    drawn = {name: one for name, one in maps.items() if _has_cells(one)}
    frames = _framed(drawn, outline)
    scale = _scale([*drawn.values()], normalise, **limits)
    columns = [name for one in drawn.values() for name in one.values]
    barred = scale is not None and seaborn.get("cbar", True) is not False
    sheet = Sheet.laid_out(
        [[_spot(one, columns) for one in line.values()] for line in lines],
        bar=barred,
        annotated=seaborn.get("annot", False) is not False,
    )
    figure, axes = sheet.figure()
    notes: dict[str, list[str]] = {}
    for ax, (name, one) in zip(axes, maps.items(), strict=True):
        if name not in drawn or scale is None:
            cells.say_still(ax, one.still or f"No value of {one.label}")
        else:
            options = {**seaborn, "cbar": False}
            with alone(ax):
                notes[name] = draw_cells(ax, one, scale, frames[name], bare=bare, **options)
            if not bare:
                name_cells(ax, one.values, columns)
                ax.set_ylabel("" if _named(one) else ax.get_ylabel())
        if not bare:
            ax.set_title(name, fontsize=FONT, color=INK, pad=4, parse_math=False)
    if scale is not None and sheet.bar is not None:
        first = next(ax for ax, name in zip(axes, maps, strict=True) if name in drawn)
        _bar(figure, sheet, first, scale, [*drawn.values()], bare=bare)
    if not bare:
        sheet.explain(figure, title, [*_joined(notes), *said, *counted(maps.values())])
    return figure


def _matrices(
    diff: Diff, metric: str, others: bool | None, normalise: Normalise
) -> dict[str, Matrix]:
    """Return what is drawn of each stack, by its name, in the model's order."""
    every = matrices_of(diff, metric)
    labels = stack_labels(every)
    order = stack_order([*every][:_MOST])  # those that moved most
    names = distinct([labels[stack] for stack in order], _NAME)
    found = {}
    for stack, name in zip(order, names, strict=True):
        one = every[stack]
        found[name] = prepared(one, False, others, normalise) if _has_cells(one) else one
    return found


def _has_cells(one: Matrix) -> bool:
    return not one.still and bool(one.values.notna().to_numpy().any())


def _scale(drawn: Sequence[Matrix], normalise: Normalise, **given: Any) -> Scale | None:
    """Return the one scale of all maps."""
    if not drawn:
        return None
    if given["center"] is None and normalise != "none":
        given["center"] = 1.0
    values = np.concatenate([one.values.to_numpy().ravel() for one in drawn])
    return scale_for(rule_name(drawn[0], normalise), values, **given)


def _spot(one: Matrix, columns: Sequence[object]) -> Spot:
    if not _has_cells(one):
        return Spot(0, 0)
    rows, across = one.values.shape
    texts = column_labels([*one.values], columns)
    longest = max(len(str(name)) for name in one.values.index)
    return Spot(rows, across, longest, max(map(len, texts)), named=not _named(one))


def _named(one: Matrix) -> bool:
    """Whether rows are called by more than a number."""
    return any(isinstance(name, str) for name in one.values.index)


def _framed(drawn: Mapping[str, Matrix], wanted: Sequence[Outlined]) -> dict[str, list[Outlined]]:
    """Return the cells to frame in each map: findings know their stack, cells are looked for."""
    frames: dict[str, list[Outlined]] = {name: [] for name in drawn}
    for one in wanted:
        of = [
            name
            for name, matrix in drawn.items()
            if isinstance(one, Finding)
            or (rows_of(matrix.values.index, one[0]) and component_of(one[1]) in matrix.values)
        ]
        if not of and not isinstance(one, Finding):
            raise BadCall(f"outline: no map has a cell at layer {one[0]!r}, {one[1]!r}")
        for name in of:
            frames[name].append(one)
    return frames


def _bar(
    figure: Figure, sheet: Sheet, first: Axes, scale: Scale, drawn: Sequence[Matrix], *, bare: bool
) -> None:
    """Draw the colour bar of all maps."""
    assert sheet.bar is not None
    place = sheet.axes(figure, sheet.bar)
    place.set_label("<colorbar>")
    bar = figure.colorbar(cells.mesh_of(first), cax=place, extend=scale.extend)
    cells.dress_bar(bar, scale.ticks, "" if bare else drawn[0].label)
    if not bare:
        cells.explain_bar(bar, scale.white, [one.values.to_numpy() for one in drawn])


def _joined(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Say once what holds for all maps, and name those that a note is of, where it is of some."""
    found: dict[str, list[str]] = {}
    for name, said in notes.items():
        for note in said:
            found.setdefault(note, []).append(name)
    lines = [
        note if len(names) == len(notes) else f"{', '.join(names)}: {note}"
        for note, names in found.items()
    ]
    return [*lines, "one scale for all"] if len(notes) > 1 else lines
