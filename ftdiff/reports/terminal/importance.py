"""What `ftdiff importance` prints: the losses, what layers and components are worth, findings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ftdiff.analyses.importance import Importance
from ftdiff.comparison import csv_text
from ftdiff.comparison.frame import records
from ftdiff.naming import component_order
from ftdiff.reports.terminal import compare
from ftdiff.reports.terminal.findings import write_findings
from ftdiff.reports.terminal.tables import escape, new_console, write_line, write_table
from ftdiff.reports.worth import layer_row

#: Rows of layers and components that are printed; the rest is in the files.
_ROWS = 40


def show_importance(found: Importance, format_: str = "table") -> None:
    """Print losses, a row per layer and component, and findings.

    As JSON the diff with all of it, as CSV a row per part and measure.
    """
    if format_ == "json":
        compare.show(found.diff, format_="json")
        return
    if format_ == "csv":
        csv_text.write(found.frame, sys.stdout)
        return
    out, about = new_console(), found.diff.about
    tuned = about.get("tuned") if found.losses[1] is not None else None
    title = str(about.get("base")) + (f" → {tuned}" if tuned else "")
    write_line(out, f"[bold]{escape(title)}[/]")
    for line in _losses(found):
        write_line(out, escape(line))
    write_table(out, "layers", [layer_row(row) for row in records(found.layers)][:_ROWS])
    if found.frame["component"].notna().any():
        rows = records(found.components)
        rows.sort(key=lambda row: -abs(row.get("path") or row.get("zero") or 0.0))
        write_table(out, "layers × components", [layer_row(row) for row in rows[:_ROWS]])
    write_table(out, "components, over all layers", _components(found))
    write_findings(out, found.findings() if tuned else [])
    for note in found.about.get("notes", ()):
        write_line(out, f"[yellow]![/] {escape(str(note))}", hang=2)


def _losses(found: Importance) -> Iterator[str]:
    text, (base, tuned) = found.about["text"], found.losses
    yield (
        f"{text['file']}: {text['texts']} of {text['texts_in_file']} texts, {text['tokens']:,} "
        f"tokens, {text['asked']:,} asked (sha256 {str(text['sha256'])[:12]}); "
        f"{found.about['dtype']} on {found.about['device']}, seed {found.about['seed']}"
    )
    if tuned is None:
        yield f"loss {base:.4f} nats a token"
        return
    yield f"loss {base:.4f} → {tuned:.4f} nats a token ({tuned - base:+.4f})"
    gap, nodes = found.about["gap"], found.about["nodes"]
    share = f" ({abs(gap / (tuned - base)):.2g} of it)" if tuned != base else ""
    yield f"path adds up to {tuned - base + gap:+.4f} at {nodes} nodes: gap {gap:+.2g}{share}"


def _components(found: Importance) -> list[dict[str, Any]]:
    held = found.diff.columns
    wanted: tuple[str, ...] = ("path", "path_share", "slope", "saliency", "relative_norm")
    wanted = ("saliency",) if found.losses[1] is None else wanted
    names = [name for name in wanted if name in held]
    rows = records(found.diff.by("component", metrics=names))
    places = {name: i for i, name in enumerate(component_order(row["component"] for row in rows))}
    rows.sort(key=lambda row: places[row["component"]])
    return [{name: row[name] for name in ("component", *names)} for row in rows][:_ROWS]
