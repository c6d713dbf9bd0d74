"""What `ftdiff compare --facet` prints: a row for each fine-tune."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from ftdiff.comparison import csv_text
from ftdiff.comparison.coverage import percent
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import withheld
from ftdiff.comparison.statuses import MOVED
from ftdiff.reports.document import document
from ftdiff.reports.side_by_side import over
from ftdiff.reports.terminal.tables import escape, new_console, write_line, write_table


def show_siblings(
    diffs: Mapping[str, Diff], metric: str = "relative_norm", format_: str = "table"
) -> None:
    """Print a row for each of several fine-tunes; or all of them as JSON (a list) or CSV."""
    if format_ == "json":
        with TemporaryDirectory() as folder:
            saved = (diff.save(Path(folder) / "diff.json") for diff in diffs.values())
            texts = [path.read_text(encoding="utf-8").rstrip("\n") for path in saved]
        sys.stdout.write("[\n" + ",\n".join(texts) + "\n]\n")
        return
    if format_ == "csv":
        frames = [diff.frame.assign(tuned=name) for name, diff in diffs.items()]
        whole = pd.concat(frames, ignore_index=True)
        shapes = whole["shape"].map(lambda shape: "x".join(map(str, shape or ())))
        whole = whole.assign(shape=shapes)
        whole.insert(0, "tuned", whole.pop("tuned"))
        csv_text.write(whole, sys.stdout)
        return
    console = new_console()
    base = next(iter(diffs.values())).about["base"]
    console.print(f"[bold]{escape(base or 'no base')} → {len(diffs)} fine-tunes[/]")
    write_table(console, "", [_sibling(name, diff, metric) for name, diff in diffs.items()])
    write_line(console, "[dim]numbers are over what moved of each[/]")
    for name, diff in diffs.items():
        for caution in document(diff).cautions:
            write_line(console, f"[yellow]![/] {escape(name)}: {escape(caution)}", hang=2)


def _sibling(name: str, diff: Diff, metric: str) -> dict[str, Any]:
    """Return a fine-tune's row: how much of it was compared, how far it moved, where most.

    Its numbers are over what moved, as rows are read against each other; `over` says what that is.
    """
    wanted = dict.fromkeys(
        [metric, "relative_norm", "rms_change", "precision_floor", "scale_share"]
    )
    overall = {} if withheld(diff) else diff.whole("moved")
    row: dict[str, Any] = {"tuned": name, "kind": str(diff.about["kind"])}
    row |= {"compared": percent(diff.about["coverage"])}
    row |= {"moved": int(diff.frame["status"].isin(MOVED).sum())}
    row |= {"over": over(diff)}
    row |= {one: overall.get(one) for one in wanted}
    long = diff.by("component", metrics=("lift",), param="weight").dropna()
    most = int(long["lift"].to_numpy(float).argmax()) if len(long) else None
    row["most lift"] = None if most is None else str(long["component"].iloc[most])
    return row
