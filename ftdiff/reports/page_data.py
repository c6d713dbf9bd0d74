"""The numbers that a page's script works with, as inert JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ftdiff.comparison.colour_rule import rule_of
from ftdiff.comparison.component_styles import looks
from ftdiff.comparison.result import Diff
from ftdiff.comparison.sublayers import unfolded
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS
from ftdiff.reports.document import SHOWN
from ftdiff.reports.maps import Map
from ftdiff.reports.page_parts import Content, Part
from ftdiff.reports.palette import HUE, STOPS
from ftdiff.tensors import Array

# Spectra that are drawn with all the points that a diff keeps of them.
_CURVES = 500
# How lines are broken, as SVG writes it.
_DASHES = {"-": "", "--": "6 3", "-.": "7 3 1.5 3", ":": "1.5 3"}
#: What the table of tensors says of each beside its numbers; "of" which diff, where several are.
WORDS = (
    "tensor",
    "of",
    "stack",
    "layer",
    "sublayer",
    "component",
    "status",
    "form",
    "shape",
    "note",
)


def island(content: Content, one_hue: bool = False) -> str:
    """Return JSON that no text in it can end: `<` is written as an escape.

    Parameters
    ----------
    content
        What the page shows.
    one_hue
        Whether maps are at first in one hue, whatever the metric.
    """
    data = {
        "metric": content.metric,
        "metrics": {name: _metric(content.maps, name) for name in content.metrics},
        "names": [part.name for part in content.parts],
        "stops": STOPS,
        "hue": HUE,
        "oneHue": one_hue,
        "looks": _looks(content.maps),
        "maps": [_map(one, content.metrics) for one in content.maps],
        "table": _table(content),
        "spectra": [_spectra(part.listed) for part in content.parts],
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def table_metrics(parts: Sequence[Part], metric: str) -> list[str]:
    """Return the metrics that the table of tensors shows, each once: the chosen one first."""
    apart = [m.name for m in METRICS.values() if m.needs != "sums"]
    wanted = dict.fromkeys([metric, *SHOWN, "rms_change", *apart])
    frames = [part.listed.frame for part in parts]
    return [n for n in wanted if any(n in frame and frame[n].notna().any() for frame in frames)]


def table_frame(parts: Sequence[Part], metric: str) -> pd.DataFrame:
    """Return the rows of the table of tensors, those of one diff after the other."""
    metrics = table_metrics(parts, metric)
    frames = []
    for part in parts:
        held = part.listed.frame
        frame = held.reindex(columns=[*(name for name in WORDS if name != "of"), "param", *metrics])
        frames.append(frame.assign(of=part.name if len(parts) > 1 else ""))
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def words(frame: pd.DataFrame, column: str) -> list[str]:
    """Return a column as texts that are safe to show; "" where there is none."""
    if column == "shape":
        return ["×".join(map(str, shape)) if shape else "" for shape in frame["shape"]]
    return ["" if pd.isna(value) else one_line(value) for value in frame[column]]


def _metric(drawn: Sequence[Map], name: str) -> dict[str, Any]:
    """Return what a page says of a metric, and what its colours stand for."""
    held = [one.values[name].ravel() for one in drawn if name in one.values]
    rule = rule_of(name, np.concatenate(held) if held else np.empty(0))
    kind = "sequential" if rule.sequential else "middle" if rule.white is None else "about"
    about = {key: getattr(METRICS[name], key) for key in ("label", "unit", "formula", "range")}
    return {**about, "shading": [kind, rule.white, rule.log]}


def _looks(drawn: Sequence[Map]) -> dict[str, tuple[str, str]]:
    """Return the colour and the dashes of each component's line, as in every figure."""
    names = dict.fromkeys(name for one in drawn for name in one.components)
    return {name: (look.colour, _DASHES[look.dashes]) for name, look in looks(names).items()}


def _map(one: Map, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "of": one.of,
        "stack": one.stack,
        "label": one.label,
        "title": one.title,
        "layers": one.layers,
        "components": one.components,
        "values": {name: _numbers(one.values[name].ravel()) for name in metrics},
        "doubtful": one.doubtful.ravel().astype(int).tolist(),
        "tensors": one.tensors.ravel().tolist(),
        "moved": one.moved.ravel().tolist(),
    }


def _table(content: Content) -> dict[str, Any]:
    """Write the table column by column; words that repeat are written once."""
    frame = table_frame(content.parts, content.metric)
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
    for name in table_metrics(content.parts, content.metric):
        values = frame[name].to_numpy(np.float64, na_value=np.nan)
        columns.append({"name": name, "numbers": _numbers(values)})
    weight = (frame["param"] == "weight").fillna(False).astype(int).tolist()
    return {"columns": columns, "weight": weight, **_rows(content.parts)}


def _rows(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the row of the maps that each tensor is in, where that is not its layer's number."""
    found = [unfolded(part.listed) for part in parts]
    if not any(rows.nested or rows.words for rows in found):
        return {}
    named: list[int | str | None] = []
    for rows in found:
        columns = rows.diff.columns
        for stack, layer in zip(columns["stack"], columns["layer"], strict=True):
            named.append(None if layer is None else rows.names(stack, [layer])[0])
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
