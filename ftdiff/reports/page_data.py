"""The numbers that a page's script works with, as inert JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ftdiff.comparison.result import Diff
from ftdiff.comparison.sublayers import unfolded
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS
from ftdiff.reports.document import SHOWN
from ftdiff.reports.maps import Map
from ftdiff.reports.palette import STOPS
from ftdiff.tensors import Array

# Spectra that are drawn with all the points that a diff keeps of them.
_CURVES = 500
#: What the table of tensors says of each beside its numbers.
WORDS = ("tensor", "stack", "layer", "sublayer", "component", "status", "form", "shape", "note")


def island(diff: Diff, drawn: Sequence[Map], metrics: Sequence[str], metric: str) -> str:
    """Return JSON that no text in it can end: `<` is written as an escape.

    Parameters
    ----------
    diff
        For the table of tensors.
    drawn
        The heatmaps.
    metrics
        Those a reader may choose from.
    metric
        The one shown first.
    """
    about = ("label", "unit", "formula", "range")
    data = {
        "metric": metric,
        "metrics": {name: {key: getattr(METRICS[name], key) for key in about} for name in metrics},
        "stops": STOPS,
        "maps": [_map(one, metrics) for one in drawn],
        "table": _table(diff, metric),
        "spectra": _spectra(diff),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def table_metrics(diff: Diff, metric: str) -> list[str]:
    """Return the metrics that the table of tensors shows, each once: the chosen one first."""
    apart = [m.name for m in METRICS.values() if m.needs != "sums"]
    wanted = dict.fromkeys([metric, *SHOWN, "rms_change", *apart])
    return [name for name in wanted if name in diff.frame and diff.frame[name].notna().any()]


def words(frame: pd.DataFrame, column: str) -> list[str]:
    """Return a column as texts that are safe to show; "" where there is none."""
    if column == "shape":
        return ["×".join(map(str, shape)) if shape else "" for shape in frame["shape"]]
    return ["" if pd.isna(value) else one_line(value) for value in frame[column]]


def _map(one: Map, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "stack": one.stack,
        "label": one.label,
        "layers": one.layers,
        "components": one.components,
        "values": {name: _numbers(one.values[name].ravel()) for name in metrics},
        "doubtful": one.doubtful.ravel().astype(int).tolist(),
        "tensors": one.tensors.ravel().tolist(),
        "moved": one.moved.ravel().tolist(),
    }


def _table(diff: Diff, metric: str) -> dict[str, Any]:
    """Write the table column by column; words that repeat are written once."""
    frame = diff.frame
    columns: list[dict[str, Any]] = []
    for name in WORDS:
        texts = words(frame, name)
        if name not in ("tensor", "layer") and not any(texts):
            continue
        if name == "tensor":
            columns.append({"name": name, "texts": texts})
        elif name == "layer":
            columns.append({"name": name, "numbers": [int(t) if t else None for t in texts]})
        else:
            codes, levels = pd.factorize(np.asarray(texts, dtype=object))
            columns.append({"name": name, "levels": list(levels), "codes": codes.tolist()})
    for name in table_metrics(diff, metric):
        values = frame[name].to_numpy(np.float64, na_value=np.nan)
        columns.append({"name": name, "numbers": _numbers(values)})
    weight = (frame["param"] == "weight").fillna(False).astype(int).tolist()
    return {"columns": columns, "weight": weight, **_rows(diff)}


def _rows(diff: Diff) -> dict[str, Any]:
    """Return the row of the maps that each tensor is in, where that is not its layer's number."""
    rows = unfolded(diff)
    if not (rows.nested or rows.words):
        return {}
    places = zip(rows.diff.columns["stack"], rows.diff.columns["layer"], strict=True)
    named = [None if layer is None else rows.names(stack, [layer])[0] for stack, layer in places]
    return {"rows": named}


def _spectra(diff: Diff) -> dict[str, Any]:
    """Return what draws the spectrum of each tensor, with fewer points where there are many."""
    notes = diff.about.get("spectra", {})
    kept = {tensor: note for tensor, note in notes.items() if "curve" in note}
    every = max(1, len(kept) // _CURVES)
    found = {}
    for tensor, note in kept.items():
        curve = dict(note["curve"])
        last = len(curve["index"]) - 1
        at = [k for k in range(last + 1) if k % every == 0 or k == last]
        curve |= {name: [curve[name][k] for k in at] for name in ("index", "sigma")}
        curve |= {"method": one_line(note.get("method", "")), "bound": note.get("bound")}
        found[one_line(tensor)] = curve
    return found


def _numbers(values: Array) -> list[float | None]:
    """Round to what a page shows, so that a page of many tensors stays small."""
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.tolist()]
