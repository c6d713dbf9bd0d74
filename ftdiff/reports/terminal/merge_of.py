"""What `ftdiff merge-of` prints: which merge it is, and its coefficients layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ftdiff.analyses.merges import MergeOf
from ftdiff.naming import component_order
from ftdiff.reports.terminal.tables import ROWS, new_console, write_table
from ftdiff.reports.terminal.verdict import show_verdict, show_whole

_BARS = "▁▂▃▄▅▆▇█"
#: Columns of a line of bars.
_WIDE = 48


def show_merge(found: MergeOf, format_: str = "table") -> None:
    """Print the verdict, and the coefficients by layer where they are not one; or JSON or CSV."""
    if format_ != "table":
        show_whole(found, format_)
        return
    show_verdict(found.verdict, found.sentences)
    if found.verdict not in ("exactly", "changed", "partly") or found.one:
        return
    out = new_console()
    if found.components_differ:
        write_table(out, "coefficients by component, over the layers", _by_component(found))
        return
    profile = found.profile
    write_table(out, "coefficients over the layers", [
        {"parent": name, **_course(profile[name])} for name in profile
    ])  # fmt: skip
    step = -(-len(profile) // (2 * ROWS))
    rows = [{"layer": int(str(layer)), **row} for layer, row in profile.iloc[::step].iterrows()]
    write_table(out, "coefficients by layer", rows)


def _by_component(found: MergeOf) -> list[dict[str, Any]]:
    table = found.curves(components=True)
    held = {(name, parent): rows for (name, parent), rows in table.groupby(["component", "parent"])}
    return [
        {"component": name, "parent": parent, **_course(held[name, parent].set_index("layer")
                                                        ["coefficient"])}
        for name in component_order({*table["component"].dropna()})
        for parent in found.about["parents"]
    ]  # fmt: skip


def _course(values: pd.Series[float]) -> dict[str, Any]:
    """Return the ends of a curve, and bars from 0 to 1 for it, of every so many layers."""
    known = values.dropna()
    return {
        "from": known.min() if len(known) else None,
        "to": known.max() if len(known) else None,
        "layers": bars([*values.to_numpy(float)]),
    }


def bars(values: list[float]) -> str:
    """Return a bar for each value, from 0 to 1; a space where there is none.

    >>> bars([0.0, 0.5, 1.0, float("nan")])
    '▁▅█ '
    """
    shown = values[:: -(-len(values) // _WIDE) or 1]
    top = len(_BARS) - 1
    return "".join(
        _BARS[round(min(max(one, 0.0), 1.0) * top)] if np.isfinite(one) else " " for one in shown
    )
