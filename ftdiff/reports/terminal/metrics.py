"""What `ftdiff metrics` prints: the registry of metrics, group by group."""

from __future__ import annotations

from ftdiff.metrics import groups
from ftdiff.reports.terminal.tables import escape, new_console
from ftdiff.reports.topics import measured


def show_metrics() -> None:
    """Print the registry of metrics, group by group."""
    console = new_console()
    for metric in (metric for group in groups().values() for metric in group):
        console.print(f"[bold]{metric.name}[/]  {escape(metric.formula)}", soft_wrap=True)
        doc = (metric.compute.__doc__ or "").strip().partition("\n")[0]
        lines = {
            "": doc,
            "range": metric.range + (f", in units of {metric.unit}" if metric.unit else ""),
            "noise gives": metric.null,
            "cost": metric.cost,
            "measured": measured(metric),
            "source": metric.source,
        }
        for label, text in lines.items():
            if text:
                console.print(f"    {label + ': ' if label else ''}{escape(text)}", soft_wrap=True)
