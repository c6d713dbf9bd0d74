"""What `ftdiff compare` prints: a summary that fits the terminal, or the whole diff."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.text import Text

from ftdiff.comparison import coverage
from ftdiff.comparison.result import Diff
from ftdiff.metrics import METRICS
from ftdiff.numbers import number
from ftdiff.reports.document import Document, document
from ftdiff.reports.maps import maps, shown_metric
from ftdiff.reports.terminal import heatmap as characters
from ftdiff.reports.terminal.tables import escape, new_console, write_line, write_named, write_table


def show(
    diff: Diff,
    metric: str = "relative_norm",
    format_: str = "table",
    *,
    report: Document | None = None,
) -> None:
    """Print a diff on standard output: a summary, or the whole of it as JSON or CSV.

    `report` is its `document`, where that is at hand.
    """
    if format_ == "table":
        console = new_console()
        report = document(diff) if report is None else report
        _summary(console, report, metric, _drawn(console, diff, metric))
        return
    with TemporaryDirectory() as folder:
        path = diff.save(Path(folder) / f"diff.{format_}")
        sys.stdout.write(path.read_text(encoding="utf-8"))


def _drawn(console: Console, diff: Diff, metric: str) -> list[Text]:
    """Return the lines of a heatmap for each stack, on one scale."""
    name = shown_metric(diff, metric)
    shown = maps(diff, [name]) if name in diff.columns else ()
    return [*characters.heatmaps(console, shown, name)]


def _summary(console: Console, report: Document, metric: str, drawn: Iterable[Text]) -> None:
    write_line(console, f"[bold]{escape(report.title)}[/]")
    counts = " · ".join(f"{count:,} {name}" for name, count in report.statuses.items())
    if not math.isnan(report.coverage):
        counts = f"{coverage.words(report.about)} · {counts}"
    write_line(console, counts)
    names = dict.fromkeys([metric, "relative_norm", "precision_floor", "scale_share", "cosine"])
    facts = [
        f"{name} {report.headlines.get(name) or number(report.overall[name])}"
        for name in names
        if name in report.overall
    ]
    if not report.overall and report.headlines["relative_norm"]:
        facts = [report.headlines["relative_norm"]]
    if facts:
        write_line(console, "overall  " + " · ".join(facts))
    for sentence in report.structure:
        write_line(console, escape(sentence))
    for line in drawn:
        console.print(line)
    how = f" ({report.methods})" if report.methods else ""
    write_table(console, f"tensor by tensor{how}", report.apart)
    write_table(console, "components", report.components)
    write_table(console, "layers that moved most", _top(report.layers, metric))
    for caution in report.cautions:
        write_line(console, f"[yellow]![/] {escape(caution)}", hang=2)
    for heading, listed in report.lists.items():
        write_named(console, heading, listed)


def _top(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Mapping[str, Any]]:
    """Return the rows where the metric is largest, or where they lack it their first metric."""
    held = [name for name in (rows[0] if rows else ()) if name in METRICS]
    by = metric if metric in held else next(iter(held), metric)
    return sorted(rows, key=lambda row: -_size(row, by))[:5]


def _size(row: Mapping[str, Any], metric: str) -> float:
    return float(row.get(metric) or 0.0)
