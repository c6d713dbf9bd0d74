"""Bars of where the squared change is, against where the parameters are; lift is what is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.metrics import faint
from ftdiff.naming import component_order
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.axes import FONT, INK
from ftdiff.plots.elements.cells import FLOOR
from ftdiff.plots.elements.colours import round_ticks, tick_texts
from ftdiff.plots.elements.labels import label_of
from ftdiff.plots.elements.titles import Title, own_title, titled
from ftdiff.plots.heatmaps.matrix import untrusted

#: Gids of the two bars of a component, and of its lift.
CHANGE, PARAMETERS, LIFT = "share-of-change", "share-of-parameters", "lift"
_MORE, _LESS, _SIZE = "#D55E00", "#0072B2", "#c9c9d0"
_REST = "others"

#: What adding up shares may lose.
_ROUNDING = 1e-9


def energy(
    diff: Diff,
    metric: str = "lift",
    *,
    ax: Axes | None = None,
    by: str = "component",
    most: int = 12,
    title: Title = None,
    bare: bool = False,
) -> Axes:
    """Draw each component's share of ‖ΔW‖² over its share of the parameters, and write its lift.

    Parameters
    ----------
    diff
        A diff. Shares are of everything that is on both sides.
    metric
        "lift" or "energy_share": both are on the figure.
    ax
        As for `heatmap`.
    by
        A column of the frame: "component", "block", "layer", "stack".
    most
        How many bars: where there are more, those that have the smallest part of both are one.
    title, bare
        Text above; whether to leave out all text but the axis' numbers and the lifts.

    Returns
    -------
    Axes
        Bars have the gids "share-of-change" (orange where the lift exceeds 1, blue where not;
        hatched under the floor) and "share-of-parameters", texts "lift".

    Raises
    ------
    UnknownName
        The frame has no such column.
    BadCall
        The metric is another one, or nothing moved.
    """
    if metric not in ("lift", "energy_share"):
        raise BadCall(f"energy bars show lift and energy_share, they cannot show {metric}")
    found = shares(diff, by, most)
    if not found["change"].between(0, 1 + _ROUNDING).all():
        raise BadCall("nothing to draw: sums of this diff give shares that are none from 0 to 1")
    if ax is None:
        ax = chart.new_chart(max(1.5, 0.8 + 0.2 * len(found)))
    chart.dressed(ax)
    ax.grid(visible=False)
    names = [*found["name"]]
    y = np.arange(len(found))[::-1]
    ax.barh(y, found["parameters"], 0.78, color=_SIZE, gid=PARAMETERS)
    colours = [_MORE if lift > 1 else _LESS for lift in found["lift"]]
    bars = ax.barh(y, found["change"], 0.36, color=colours)
    for bar, doubtful in zip(bars, found["doubtful"], strict=True):
        bar.set(gid=f"{CHANGE} {FLOOR}" if doubtful else CHANGE)
        if doubtful:
            bar.set(facecolor="white", edgecolor=bar.get_facecolor(), hatch="/////")
    ends = found[["change", "parameters"]].max(axis=1)
    for at, end, lift in zip(y, ends, found["lift"], strict=True):
        ax.annotate(
            f"lift {_short(lift)}",
            (end, at),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT,
            color=INK,
            gid=LIFT,
        )
    ax.set_xlim(0, float(ends.max()) * 1.25)
    ticks = round_ticks(*ax.get_xlim())
    ax.set_xticks(ticks, tick_texts(ticks), fontsize=FONT)
    ax.set_ylim(-0.6, len(found) - 0.4)
    ax.set_yticks(y, [label_of(name) for name in names], fontsize=FONT, parse_math=False)
    ax.tick_params(axis="y", length=0)
    if bare:
        ax.set_yticks([])
        chart.bare_chart(ax)
        return ax
    ax.set_xlabel("share", fontsize=FONT, color=INK, labelpad=2)
    notes = ["bar: share of ‖ΔW‖², behind it the share of the parameters; their ratio is the lift"]
    if found["doubtful"].any():
        notes.append(untrusted("hatched"))
    chart.explained(ax, [], titled(title, own_title(diff.about)), notes)
    return ax


def _short(lift: float) -> str:
    """Write a lift in few letters.

    >>> _short(7.034), _short(0.0123), _short(1234.5)
    ('7.03', '0.012', '1,234')
    """
    if lift >= 100:
        return f"{lift:,.0f}"
    return f"{lift:.2f}" if lift >= 0.1 else f"{lift:.2g}"


def shares(diff: Diff, by: str = "component", most: int = 12) -> pd.DataFrame:
    """Return a row for each bar: name, change, parameters, lift, doubtful.

    Components stand in the published order; the smallest of too many are one row, "others (n)".
    """
    if not isinstance(diff, Diff):
        raise BadCall(f"energy bars draw a Diff, this is {type(diff).__name__}")
    long = diff.by(by, metrics=("energy_share", "snr"))
    whole = int(long["params"].sum())
    long = long[long["energy_share"].notna()] if whole else long.iloc[:0]
    if not (long["energy_share"] > 0).any():
        raise BadCall("nothing to draw: nothing of this diff moved")
    snr = long["snr"].to_numpy(float, na_value=np.nan)
    rows = pd.DataFrame(
        {
            "name": [str(name) if not pd.isna(name) else f"no {by}" for name in long[by]],
            "change": long["energy_share"].to_numpy(float),
            "parameters": long["params"].to_numpy(float) / whole,
            "doubtful": faint(snr),
        }
    )
    if by == "component":
        order = {n: i for i, n in enumerate(component_order(rows["name"]))}
        rows = rows.sort_values("name", key=lambda names: names.map(order), kind="stable")
    if len(rows) > most:
        size = rows[["change", "parameters"]].max(axis=1).sort_values(kind="stable")
        small = size.index[: len(rows) - most + 1]
        rest = rows.loc[small]
        joined = {"name": f"{_REST} ({len(rest)})", "doubtful": bool(rest["doubtful"].all())}
        joined |= {side: rest[side].sum() for side in ("change", "parameters")}
        rows = pd.concat([rows.drop(index=small), pd.DataFrame([joined])], ignore_index=True)
    return rows.assign(lift=rows["change"] / rows["parameters"]).reset_index(drop=True)
