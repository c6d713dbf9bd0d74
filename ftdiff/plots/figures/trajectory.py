"""How a change grew over a run: lines over steps, and layers × steps for each component."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ftdiff.analyses.trajectory import Trajectory
from ftdiff.comparison.component_styles import looks
from ftdiff.errors import BadCall, unknown
from ftdiff.naming import component_order
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.axes import FAINT, FONT, INK, LETTER, SMALL, points
from ftdiff.plots.elements.colours import round_ticks
from ftdiff.plots.elements.labels import column_labels
from ftdiff.plots.elements.titles import Title, of_base, titled
from ftdiff.plots.figures.facets import facets
from ftdiff.tensors import Array

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
    title: Title = None,
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
    ticks = _step_ticks(ax, steps)
    ax.set_xticks(ticks, [step_text(tick) for tick in ticks], fontsize=FONT)
    ax.set_xlabel("Step", fontsize=FONT, color=INK, labelpad=2)
    if bare:
        chart.bare_chart(ax)
        return ax
    handles = [chart.named(name, look) for name, look in styles.items()]
    own = of_base(len(steps), "checkpoints", found.about)
    chart.explained(ax, handles, titled(title, own), notes)
    return ax


def step_text(step: float) -> str:
    """Write a step: whole, with its thousands apart.

    >>> step_text(1e6), step_text(20), step_text(0.5)
    ('1,000,000', '20', '0.5')
    """
    return f"{step:,.0f}" if step == round(step) else f"{step:g}"


def _step_ticks(ax: Axes, steps: Array) -> list[float]:
    """Return the steps of checkpoints that have room for their numbers, or else round numbers."""
    low, high = float(steps.min()), float(steps.max())
    if low == high:
        return [low]
    longest = max(len(step_text(step)) for step in steps.tolist())
    apart = (longest + 1) * LETTER * FONT / points(ax)[0] * (high - low)
    if len(steps) < 2 or np.diff(np.sort(steps)).min() >= apart:
        return [float(step) for step in steps]
    return [*round_ticks(low, high)]


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
        tables.append(table.set_axis([step_text(float(str(step))) for step in table], axis=1))
    label = LABELS.get(number, number.replace("_", " "))
    given = {"title": of_base(len(tables[0].columns), "checkpoints", found.about), **options}
    figure = facets(tables, label, titles=column_labels(names), **given)
    if not options.get("bare"):
        said = figure.get_supxlabel()
        figure.supxlabel(f"Columns: steps · {said}", fontsize=SMALL, color=FAINT, parse_math=False)
    return figure


def _components(found: Trajectory, most: int, *, layered: bool = False) -> dict[str, pd.DataFrame]:
    """Return the numbers of the components that hold most entries, in the order of columns."""
    tensors = found.tensors[found.tensors["param"] == "weight"]
    if layered:
        tensors = tensors[tensors["layer"].notna()]
    sizes = tensors.groupby("component")["numel"].sum().sort_values(ascending=False, kind="stable")
    by = found.by("component")
    kept = [name for name in component_order(sizes.index[:most]) if (by["component"] == name).any()]
    return {name: by[by["component"] == name] for name in kept}
