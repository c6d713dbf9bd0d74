"""What `ftdiff trajectory` prints: the path of a run, its growth, what is to be said."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ftdiff.analyses.trajectory import Trajectory
from ftdiff.analyses.trajectory.storage import FORM, document
from ftdiff.comparison import csv_text
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.findings import write_findings
from ftdiff.reports.terminal.tables import escape, new_console, write_line, write_named, write_table

# More names than this have no matrix in a terminal; the nearest of each are shown instead.
_MATRIX, _ROWS = 12, 24


def show_trajectory(found: Trajectory, format_: str = "table", by: Sequence[str] = ()) -> None:
    """Print the path of a run: a row for each checkpoint, its growth, and what is to be said.

    As JSON the whole, as CSV a row per group and checkpoint.
    """
    if format_ == "json":
        sys.stdout.write(FORM.text(document(found.parts)) + "\n")
        return
    if format_ == "csv":
        csv_text.write(found.by(*by), sys.stdout)
        return
    out, about = new_console(), found.about
    title = f"{about['base'] or '-'} → {len(found.names)} checkpoints ({about['kind']})"
    write_line(out, f"[bold]{escape(title)}[/], in order by {escape(about['order'])}")
    left = ("efficiency_null", "cosine_null", "displacement", "step_length", "path_length")
    rows = found.by(*by)
    shown = [name for name in rows if name not in (*left, "tensors", "step_snr", "estimated")]
    write_table(
        out,
        "path, over all tensors, norms and biases too",
        records(rows[shown].head(4 * _ROWS if by else 10 * _ROWS)),
    )
    write_table(
        out, "growth: ‖ΔW‖ as steps^exponent", records(found.growth("component").head(_ROWS))
    )
    if rows["estimated"].any():
        out.print("[dim]steps to checkpoints that were added later are from sketches[/]")
    write_findings(out, found.findings())
    for name, tensors in about.get("apart", {}).items():
        write_named(out, f"not lined up: {escape(name)}", tensors)
