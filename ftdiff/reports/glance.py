"""A diff at a glance: its map in a few lines of characters, or as a drawing in a notebook."""

from __future__ import annotations

import io
import math

import numpy as np
from rich.console import Console

from ftdiff.comparison import cut
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison.colour_range import colour_range
from ftdiff.comparison.frame import among, plain
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.metrics import METRICS
from ftdiff.naming import component_order
from ftdiff.reports.maps import Map, described, maps, shown_metric
from ftdiff.reports.palette import colour, share_of
from ftdiff.reports.svg import ends_of
from ftdiff.reports.templates import PAGES
from ftdiff.reports.terminal.heatmap import fitted, heatmap

_WIDTH = 79
#: What the table of a notebook has of each component.
_SHOWN = ("relative_norm", "rotation", "precision_floor", "rms_change")


def text(diff: Diff, metric: str | None = None) -> str:
    """Return what was compared in a line, and its map in shades of characters."""
    name = shown_metric(diff, metric or "relative_norm")
    found = _maps(diff, name)
    if not found:
        return _title(diff)
    console = Console(file=io.StringIO(), width=_WIDTH, emoji=False, color_system=None)
    drawn = [line.plain.rstrip() for line in heatmap(console, found[0], name)]
    return "\n".join([_title(diff), *drawn, *_others(found)])


def html(diff: Diff, metric: str | None = None) -> str:
    """Return the same for a notebook: a row per component, and the map in colours."""
    shown = [name for name in _SHOWN if name in diff.columns]
    rows = plain(diff.grouped("component", metrics=shown, param="weight"))
    components = component_order([row["component"] for row in rows if row["component"]])
    order = {name: i for i, name in enumerate(components)}
    rows.sort(key=lambda row: order.get(row["component"], len(order)))
    overall = [f"{name} {diff.overall[name]:.4g}" for name in shown if name in diff.overall]
    sentences = [f"overall: {', '.join(overall)}"] if overall else []
    drawn = _drawing(diff, shown_metric(diff, metric or "relative_norm"))
    return notebook.shown(_title(diff), sentences, rows) + drawn


def _title(diff: Diff) -> str:
    status, about = diff.columns["status"], diff.about
    moved = among(status, MOVED).sum()
    sides = f"{about.get('base')} → {about.get('tuned')}"
    return f"Diff({sides}: {moved} of {len(status)} {cut.noun(diff)}s moved)"


def _drawing(diff: Diff, name: str) -> str:
    """Draw components × layers as an SVG, in a report's colours."""
    found = _maps(diff, name)
    if not found:
        return ""
    one, pooled = found[0], fitted(found[0], name, _WIDTH)
    finite = pooled.cells[np.isfinite(pooled.cells)]
    low, high = colour_range(finite)
    fills = [
        [colour(share_of(value, low, high)) if math.isfinite(value) else "" for value in row]
        for row in pooled.cells.tolist()
    ]
    top, _, bottom = ends_of(pooled.cells, low, high)
    said = [f"{METRICS[name].label} {bottom} to {top}"]
    said += [f"layers {one.layers[0]} to {one.layers[-1]}", *filter(None, [one.still])]
    said += _others(found)
    return PAGES.get_template("glance.html.jinja").render(
        names=pooled.names, fills=fills, said=" · ".join(said), alt=described(one, name)
    )


def _maps(diff: Diff, metric: str) -> tuple[Map, ...]:
    """Return the maps that have a value: none without layers."""
    drawn = maps(diff, [metric]) if metric in diff.columns else ()
    return tuple(one for one in drawn if np.isfinite(one.values[metric]).any())


def _others(found: tuple[Map, ...]) -> list[str]:
    rest = len(found) - 1
    return [f"{rest} more {'stack' if rest == 1 else 'stacks'}"] if rest else []
