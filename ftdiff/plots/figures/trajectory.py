"""How a change grew over a run: lines over steps, and layers × steps for each component."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.analyses.trajectory import Trajectory
from ftdiff.errors import BadCall, unknown
from ftdiff.naming import component_order
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.axes import FONT, INK
from ftdiff.plots.elements.colours import round_ticks
from ftdiff.plots.elements.component_styles import looks
from ftdiff.plots.elements.labels import label_of
from ftdiff.plots.figures.facets import facets

#: What the numbers are called on an axis.
LABELS = {
    "relative_norm": "‖ΔW‖/‖W‖",
    "relative_step": "step ÷ ‖W‖",
    "displacement": "‖ΔW‖",
    "step_length": "length of the step",
    "path_length": "path so far",
    "efficiency": "displacement ÷ path",
    "step_cosine": "cosine with the step before",
    "cosine_final": "cosine with the final change",
    "effective_rank": "effective rank of ΔW",
}
#: What a number would be by chance, or where steps are orthogonal; drawn beside the whole model's.
_NULLS = {"efficiency": "efficiency_null", "step_cosine": "cosine_null"}
_WHOLE = "whole model"


def trajectory(
    found: Trajectory,
    number: str = "relative_norm",
    *,
    ax: Axes | None = None,
    most: int = 8,
    title: str = "",
    bare: bool = False,
) -> Axes:
    """Draw one number over the steps of a run, for the whole model and for each component.

    Parameters
    ----------
    found
        What `ftdiff.trajectory` measured.
    number
        A column of `Trajectory.by`.
    ax
        Where to draw; by default a figure of its own.
    most
        How many components: those that hold most entries.
    title, bare
        Text above; whether to leave out all text but the axes' numbers.

    Returns
    -------
    Axes
        Its lines are labelled by component; points from sketches are hollow, with the gid
        "estimated"; what chance gives has the gid "noise".

    Raises
    ------
    UnknownName, BadCall
        There is no such number, or nothing to draw.
    """
    whole = found.by()
    numbers = [str(name) for name in whole if name not in ("checkpoint", "step", "tensors")]
    if number not in numbers:
        raise unknown("number", number, numbers)
    lines = {_WHOLE: whole, **_components(found, most)}
    styles = looks(lines)
    steps = whole["step"].to_numpy(float)
    if not any(np.isfinite(rows[number].to_numpy(float)).any() for rows in lines.values()):
        raise BadCall(f"nothing to draw: no checkpoint has a {number}")
    if ax is None:
        ax = chart.new_chart(names=styles)
    chart.dressed(ax)
    for name, rows in lines.items():
        look, values = styles[name], rows[number].to_numpy(float)
        wide = 2.0 if name == _WHOLE else 1.1
        ax.plot(steps, values, color=look.colour, linestyle=look.dashes, linewidth=wide, label=name)
    notes = _marked(ax, whole, number, styles[_WHOLE].colour)
    drawn = [np.asarray(line.get_ydata(), float) for line in ax.lines]
    ax.set_ylim(*chart.heights(drawn))
    chart.number_heights(ax, LABELS.get(number, number.replace("_", " ")))
    ends = float(steps.min()), float(steps.max())
    ticks = round_ticks(*ends) if ends[0] < ends[1] else ends[:1]
    ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks], fontsize=FONT)
    ax.set_xlabel("Step", fontsize=FONT, color=INK, labelpad=2)
    if bare:
        chart.bare_chart(ax)
        return ax
    chart.explained(ax, [chart.named(name, look) for name, look in styles.items()], title, notes)
    return ax


def _marked(ax: Axes, whole: pd.DataFrame, number: str, colour: str) -> list[str]:
    """Mark what is from sketches, and draw what chance gives; return what a reader has to know."""
    notes = []
    steps, values = whole["step"].to_numpy(float), whole[number].to_numpy(float)
    guess = whole["estimated"].to_numpy(float) > 0
    if guess.any() and number not in ("displacement", "relative_norm", "snr"):
        ax.plot(steps[guess], values[guess], "o", markerfacecolor="white", color=colour,
                markersize=4, gid="estimated")  # fmt: skip
        notes.append("hollow: from sketches")
    if number in _NULLS:
        null = whole[_NULLS[number]].to_numpy(float)
        ax.plot(steps, null, color=INK, linewidth=0.8, linestyle=":", gid=chart.NOISE)
        what = "steps at right angles" if number == "efficiency" else "one sd of chance"
        notes.append(f"dotted: {what}")
    return notes


def courses(
    found: Trajectory, number: str = "relative_norm", *, most: int = 9, **options: Any
) -> Figure:
    """Draw layers × steps of one number for each component, on one scale.

    Parameters
    ----------
    found, number
        As for `trajectory`.
    most
        How many components: those that hold most entries.
    **options
        As for `facets`: `shared=False` gives each map its own scale.

    Raises
    ------
    UnknownName, BadCall
        There is no such number, or no component has layers.
    """
    names = [*_components(found, most, layered=True)]
    if not names:
        raise BadCall("nothing to draw: no component has layers")
    tables = []
    for name in names:
        table = found.table(number, component=name)
        tables.append(table.set_axis([f"{step:g}" for step in table], axis=1))
    label = LABELS.get(number, number.replace("_", " "))
    return facets(tables, label, titles=[label_of(name) for name in names], **options)


def _components(found: Trajectory, most: int, *, layered: bool = False) -> dict[str, pd.DataFrame]:
    """Return the numbers of the components that hold most entries, in the order of columns."""
    tensors = found.tensors[found.tensors["param"] == "weight"]
    if layered:
        tensors = tensors[tensors["layer"].notna()]
    sizes = tensors.groupby("component")["numel"].sum().sort_values(ascending=False, kind="stable")
    by = found.by("component")
    kept = [name for name in component_order(sizes.index[:most]) if (by["component"] == name).any()]
    return {name: by[by["component"] == name] for name in kept}
