"""What was measured tensor by tensor: each metric over the tensors, beside what noise gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ftdiff.comparison.frame import there
from ftdiff.comparison.result import Diff
from ftdiff.metrics import METRICS


def apart(diff: Diff) -> tuple[dict[str, Any], ...]:
    """Return a row for each metric of the frame that does not come from sums.

    Columns: the metric; its median over the tensors that have it and the median of what noise of
    their shapes and sizes gives; the least, the most, and the tensor that has the most.
    """
    columns = diff.columns
    rows = []
    for name in columns:
        if name not in METRICS or METRICS[name].needs == "sums":
            continue
        held = there(columns[name])
        values, noise = columns[name][held], diff.noise(name)[held]
        noise = noise[~np.isnan(noise)]
        rows.append(
            {
                "metric": name,
                "median": float(np.median(values)) if len(values) else None,
                "noise gives": float(np.median(noise)) if len(noise) else None,
                "least": float(values.min()) if len(values) else None,
                "most": float(values.max()) if len(values) else None,
                "tensors": len(values),
                "most in": columns["tensor"][held][int(values.argmax())] if len(values) else "",
            }
        )
    return tuple(rows)


def methods(diff: Diff) -> str:
    """Say how they were measured, and the largest error bound that is stated; "" for none.

    >>> methods(Diff({}, {"spectra": {"w": {"method": "lanczos", "bound": 2e-5}}}))
    'lanczos 1, bound of the relative error 2e-05'
    """
    notes = diff.about.get("spectra", {}).values()
    ways = Counter(_way(note) for note in notes if "method" in note)
    said = [f"{way} {count}" for way, count in ways.most_common()]
    bounds = [value for note in notes for name, value in note.items() if name.endswith("bound")]
    if bounds:
        said.append(f"bound of the relative error {max(bounds):.0e}")
    return ", ".join(said)


def _way(note: Mapping[str, Any]) -> str:
    return f"{note['method']} on {note['device']}" if "device" in note else str(note["method"])
