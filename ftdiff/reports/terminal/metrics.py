"""What `ftdiff metrics` prints: what is registered of each metric."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from ftdiff.metrics import Metric
from ftdiff.reports.terminal.tables import escape, new_console, write_line
from ftdiff.reports.topics import measured

FORMAT = "ftdiff.metrics/1"


def show_metrics(metrics: Iterable[Metric], format_: str = "table") -> None:
    """Print metrics for people, or as JSON."""
    if format_ == "json":
        document = {"format": FORMAT, "metrics": [*map(record, metrics)]}
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        return
    console = new_console()
    for metric in metrics:
        write_line(console, f"[bold]{metric.name}[/]  {escape(metric.formula)}")
        lines = {
            "": _means(metric),
            "range": metric.range + (f", in units of {metric.unit}" if metric.unit else ""),
            "noise gives": metric.null,
            "cost": metric.cost,
            "measured": measured(metric),
            "source": metric.source,
        }
        for label, text in lines.items():
            if text:
                write_line(console, f"{label + ': ' if label else ''}{escape(text)}", indent=4)


def record(metric: Metric) -> dict[str, Any]:
    """Return what is registered of a metric as plain values."""
    return {
        "name": metric.name,
        "label": metric.label,
        "means": _means(metric),
        "formula": metric.formula,
        "range": metric.range,
        "unit": metric.unit or None,
        "null": metric.null,
        "group": metric.group,
        "needs": metric.needs,
        "cost": metric.cost,
        "measured": measured(metric),
        "source": metric.source or None,
    }


def _means(metric: Metric) -> str:
    return (metric.compute.__doc__ or "").strip().partition("\n")[0]
