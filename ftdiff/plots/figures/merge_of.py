"""The coefficients of a merge over the layers: a line for each parent, or for each component."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ftdiff.analyses.merges import MergeOf
from ftdiff.comparison.component_styles import SPARE, Look, looks
from ftdiff.comparison.model_names import told
from ftdiff.errors import BadCall, unknown
from ftdiff.naming import component_order
from ftdiff.plots.charts import axes as chart
from ftdiff.plots.elements.labels import shown
from ftdiff.plots.elements.titles import Title, titled


def merge_of(
    found: MergeOf,
    parent: str | None = None,
    *,
    ax: Axes | None = None,
    title: Title = None,
    bare: bool = False,
) -> Axes:
    """Draw the coefficients of a merge over the layers.

    Parameters
    ----------
    found
        What `ftdiff.merge_of` measured.
    parent
        Draw a line for each component, of this parent; by default a line for each parent, or of the
        first one for each component where components of a layer differ.
    ax
        Where to draw; by default a figure of its own.
    title, bare
        Text above; whether to leave out all text but the axes' numbers.

    Returns
    -------
    Axes
        Its lines are labelled by parent or component; where every entry rounds right (of what is
        not exact, two standard errors about it) has the gid "band".

    Raises
    ------
    UnknownName, BadCall
        There is no such parent, or no layer has a coefficient.
    """
    names = [*found.about["parents"]]
    if parent is not None and parent not in names:
        raise unknown("parent", parent, names)
    if parent is None and found.components_differ:
        parent = names[0]
    table = found.curves(components=parent is not None)
    if parent is not None:
        table = table[table["parent"] == parent]
    if not np.isfinite(table["coefficient"].to_numpy(float)).any():
        raise BadCall("nothing to draw: no layer has a coefficient")
    label, styles = _styles(table, names, parent)
    layers = pd.Index(sorted({*table["layer"]}))
    if ax is None:
        ax = chart.new_chart(names=styles)
    chart.dressed(ax)
    for name, look in styles.items():
        rows = table[table[label] == name].set_index("layer").reindex(layers)
        low, middle, high = (rows[one].to_numpy(float) for one in ("low", "coefficient", "high"))
        x = np.arange(len(layers))
        ax.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0, gid=chart.BAND)
        ax.plot(x, middle, color=look.colour, linestyle=look.dashes, marker=look.marker,
                markersize=2.5, linewidth=1.1, label=name)  # fmt: skip
    ends = [table[one].to_numpy(float) for one in ("coefficient", "low", "high")]
    ax.set_ylim(*chart.heights([*ends, np.array([0.0, 1.0])]))
    chart.label_layers(ax, layers)
    chart.number_heights(ax, "coefficient" if parent is None else f"coefficient of {parent}")
    if bare:
        chart.bare_chart(ax)
        return ax
    handles = [chart.named(name, look) for name, look in styles.items()]
    own = shown(told(found.about["merged"])) if found.about.get("merged") else ""
    own = f"{own}: what it was merged from" if own else ""
    chart.explained(ax, handles, titled(title, own), _notes(found, names, parent))
    return ax


def _styles(
    table: pd.DataFrame, names: list[str], parent: str | None
) -> tuple[str, dict[str, Look]]:
    """Return the column that tells lines apart, and how each is drawn."""
    if parent is None:
        return "parent", {name: SPARE[i % len(SPARE)] for i, name in enumerate(names)}
    return "component", looks(component_order({*table["component"].dropna()}))


def _notes(found: MergeOf, names: list[str], parent: str | None) -> list[str]:
    notes = []
    if found.verdict == "exactly":
        notes.append("band: every entry rounds right")
    else:
        notes.append("band: two standard errors, or where every entry rounds right")
    if parent is not None and len(names) == 2 and found.about.get("base") is None:
        other = next(name for name in names if name != parent)
        notes.append(f"{other} has the rest to 1")
    return notes
