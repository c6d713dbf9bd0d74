"""Every module as a point: how far it was rescaled against how far it was turned."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ftdiff.comparison.component_styles import looks
from ftdiff.comparison.result import Diff
from ftdiff.comparison.stack_names import stack_named
from ftdiff.comparison.statuses import MOVED
from ftdiff.errors import BadCall
from ftdiff.metrics import faint
from ftdiff.naming import component_order
from ftdiff.naming.projections import is_projection
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.axes import FAINT, FONT, INK, SMALL
from ftdiff.plots.elements.axes import points as points_of
from ftdiff.plots.elements.cells import FLOOR
from ftdiff.plots.elements.colours import LARGEST, round_ticks, tick_texts
from ftdiff.plots.elements.labels import shown
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.plots.heatmaps.matrix import untrusted
from ftdiff.tensors import Array

#: The gids of arcs of one relative norm, and of points that stand for several components.
ARC = "iso-norm"
# Where rescaling is under this share of the largest movement, the x axis is stretched.
_NARROW = 0.4


def scatter(
    diff: Diff,
    metric: str = "relative_norm",
    *,
    ax: Axes | None = None,
    stack: str | None = None,
    others: bool = True,
    equal: bool | None = None,
    title: Title = None,
    bare: bool = False,
) -> Axes:
    """Draw each weight's rescaling against its rotation; the distance from (0, 0) is ‖ΔW‖/‖W‖.

    Parameters
    ----------
    diff
        A diff with its base: x is c* − 1, y is sin θ ‖W₁‖/‖W‖, the two legs of Pythagoras in
        ‖ΔW‖² = (c* − 1)² ‖W‖² + sin² θ ‖W₁‖².
    metric
        The distance, and so "relative_norm".
    ax
        As for `heatmap`.
    stack
        Only this tower of a model with several; all by default.
    others
        Whether weights that are no projections (norms, embeddings, …) are drawn too, by block.
    equal
        Whether both axes have one unit, so that arcs are round. By default they have, but where
        rescaling is so small that all points would stand on one line.
    title, bare
        Text above; whether to leave out all text but the axes' numbers.

    Returns
    -------
    Axes
        Points are lines without a stroke, labelled by component; hollow ones have the gid
        "under-the-floor", arcs "iso-norm".

    Raises
    ------
    BadCall
        The metric is another one, the diff has no base, or nothing moved.
    UnknownName
        No stack has that name.
    """
    if metric != "relative_norm":
        raise BadCall(f"the scatter's distance is relative_norm, it cannot show {metric}")
    points = legs(diff, stack, others=others)
    styles = looks(points["kind"].unique())
    if ax is None:
        ax = chart.new_chart(3.4, styles)
    chart.dressed(ax)
    for kind, part in points.groupby("kind", sort=False):
        for doubtful, some in part.groupby("doubtful"):
            ax.plot(
                some["x"],
                some["y"],
                linestyle="none",
                marker=styles[str(kind)].marker,
                markersize=3.8,
                color=styles[str(kind)].colour,
                alpha=1.0 if doubtful else 0.75,
                markerfacecolor="white" if doubtful else styles[str(kind)].colour,
                markeredgewidth=0.8 if doubtful else 0.0,
                gid=FLOOR if doubtful else None,
                label=str(kind),
            )
    stretched = _framed(ax, points, equal)
    if bare:
        chart.bare_chart(ax)
        return ax
    ax.set_xlabel("rescaling c* − 1", fontsize=FONT, color=INK, labelpad=2)
    ax.set_ylabel("rotation sin θ · ‖W₁‖/‖W‖", fontsize=FONT, color=INK, labelpad=3)
    notes = ["arcs: equal ‖ΔW‖/‖W‖"]
    if stretched > 1.05:
        notes.append(f"x is stretched {stretched:.2g} times")
    if points["doubtful"].any():
        notes.append(untrusted("hollow"))
    handles = [chart.named(kind, styles[kind], line=False) for kind in styles]
    chart.explained(ax, handles, titled(title, own_title(diff.about, shown(stack or ""))), notes)
    return ax


def legs(diff: Diff, stack: str | None = None, *, others: bool = True) -> pd.DataFrame:
    """Return a row for each weight that moved: tensor, kind, x, y, doubtful.

    `kind` is the component of a projection, and the block of anything else.
    """
    if not isinstance(diff, Diff):
        raise BadCall(f"a scatter draws a Diff, this is {type(diff).__name__}")
    if stack is not None:
        stack = stack_named(diff.frame["stack"].dropna().unique(), stack)
    names = ("scale", "rotation", "snr")
    long = diff.by("tensor", "stack", "component", "block", metrics=names, param="weight")
    norms = diff.frame.set_index("tensor")[["status", "base_sq", "tuned_sq"]]
    long = long.join(norms, on="tensor")
    if stack is not None:
        long = long[long["stack"] == stack]
    long = long[long["status"].isin(MOVED) & long["scale"].notna() & long["rotation"].notna()]
    long = long[(long["base_sq"] > 0) & (long["tuned_sq"] >= 0)]
    projection = long["component"].map(is_projection).astype(bool)
    if not others and projection.any():
        long, projection = long[projection], projection[projection]
    with np.errstate(all="ignore"):  # what is beyond all scales is left out below
        ratio = np.sqrt(long["tuned_sq"].to_numpy(float) / long["base_sq"].to_numpy(float))
        y = long["rotation"].to_numpy(float) * ratio
    x = long["scale"].to_numpy(float) - 1
    snr = long["snr"].to_numpy(float, na_value=np.nan)
    points = pd.DataFrame(
        {
            "tensor": long["tensor"].to_numpy(),
            "kind": long["component"].where(projection, long["block"]).astype(str).to_numpy(),
            "x": x,
            "y": y,
            "doubtful": faint(snr),
        }
    )
    points = points[(np.abs(x) <= LARGEST) & (y <= LARGEST)]
    if points.empty:
        based = bool(diff.about.get("base"))
        why = "no weight of this diff moved" if based else "rescaling and rotation need a base"
        raise BadCall(f"nothing to draw: {why}")
    order = {name: i for i, name in enumerate(component_order(points["kind"]))}
    ranks = points["kind"].map(order)
    ordered: pd.DataFrame = points.loc[ranks.sort_values(kind="stable").index]
    return ordered


def _framed(ax: Axes, points: pd.DataFrame, equal: bool | None) -> float:
    """Set limits and draw arcs; return how many times x is stretched against y."""
    x, y = points["x"].to_numpy(), points["y"].to_numpy()
    reach = float(np.hypot(x, y).max()) * 1.06 or 1.0
    side = float(np.abs(x).max()) * 1.15
    if equal is None:
        equal = side >= _NARROW * reach
    left, right = min(0.0, float(x.min())), max(0.0, float(x.max()))
    room = 0.08 * max(right - left, reach * 1e-3)
    if equal:
        width, height = points_of(ax)
        room = max(room, (1.02 * reach * width / height - (right - left)) / 2)
        ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlim(left - room, right + room, auto=True)  # the aspect may widen it
    ax.set_ylim(-0.02 * reach, reach)
    _arcs(ax, reach)
    ax.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        ticks = round_ticks(*limits)
        axis.set_ticks(ticks, tick_texts(ticks))
    if equal:
        return 1.0
    width, height = points_of(ax)
    return float((width / np.diff(ax.get_xlim())[0]) / (height / np.diff(ax.get_ylim())[0]))


def _arcs(ax: Axes, reach: float) -> None:
    """Draw where the relative norm is one round number, and write it at the right."""
    right = ax.get_xlim()[1]
    for r in round_ticks(0.0, reach, most=5):
        if r <= 0:
            continue
        turn: Array = np.linspace(0, np.pi, 721)
        ax.plot(
            r * np.cos(turn),
            r * np.sin(turn),
            color="#c9c9d0",
            linewidth=0.7,
            zorder=1,
            scalex=False,
            scaley=False,
            gid=ARC,
        )
        at = min(right, 0.87 * r)
        ax.annotate(
            tick_texts((r,))[0],
            (at, float(np.sqrt(r * r - at * at))),
            (-2, 1),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=SMALL,
            color=FAINT,
            annotation_clip=True,
        )
