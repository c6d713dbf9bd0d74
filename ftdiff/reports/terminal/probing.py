"""What `ftdiff probe` prints: where a label is read best, a map of it, what is to be said."""

from __future__ import annotations

import sys
from typing import Any

from ftdiff.analyses.probing import Probe
from ftdiff.comparison import csv_text
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.findings import write_findings
from ftdiff.reports.terminal.tables import (
    ROWS,
    escape,
    new_console,
    write_line,
    write_named,
    write_table,
)


def show_probe(found: Probe, format_: str = "table") -> None:
    """Print the best cells of each model, differences, and what is to be said.

    As JSON the whole, as CSV a row per model, site, layer and position.
    """
    if format_ == "json":
        sys.stdout.write(found.json() + "\n")
        return
    if format_ == "csv":
        csv_text.write(found.frame, sys.stdout)
        return
    out, about = new_console(), found.about
    data = about["data"]
    classes = ", ".join(f"{count} of {name!r}" for name, count in data["classes"].items())
    models = " → ".join(str(about[side]) for side in ("model", "tuned") if about[side])
    title = f"{models}: {data['rows']} rows of {data['file']} ({classes})"
    write_line(out, f"[bold]{escape(title)}[/]")
    write_findings(out, found.findings())
    for side, cells in found.frame.groupby("model", sort=False):
        best = cells.dropna(subset=["auroc"]).sort_values("auroc", ascending=False, kind="stable")
        heading = "best cells" if not about["tuned"] else f"best cells of the {side}"
        rows = records(best.drop(columns="model").head(ROWS))
        words = [{**row, "chance": "chance" if row["chance"] else ""} for row in rows]
        write_table(out, heading, words)
    changed = found.differences.dropna(subset=["p"]).sort_values("p", kind="stable")
    write_table(out, "tuned − model", records(changed.head(ROWS // 2)))
    write_table(out, "positions", _positions(found))
    write_named(out, "notes", dict.fromkeys(about["notes"], ""))


def _positions(found: Probe) -> list[dict[str, Any]]:
    return [{"position": name, **held} for name, held in found.about["positions"].items()]
