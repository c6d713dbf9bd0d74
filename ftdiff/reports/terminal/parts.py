"""What `ftdiff parts` prints: the parts that moved most."""

from __future__ import annotations

from ftdiff.comparison.frame import records
from ftdiff.comparison.result import Diff
from ftdiff.reports.terminal.compare import show
from ftdiff.reports.terminal.tables import (
    ROWS,
    escape,
    new_console,
    write_line,
    write_named,
    write_table,
)


def show_parts(
    diff: Diff, by: str, metric: str = "relative_norm", top: int = ROWS, format_: str = "table"
) -> None:
    """Print the weights' parts that moved most by a metric of sums; or all, as JSON or CSV."""
    if format_ != "table":
        show(diff, metric, format_)
        return
    console, frame = new_console(), diff.frame
    name = "rms_change" if frame[metric].isna().all() else metric  # the one that needs no base
    what = f"{diff.about['base'] or '-'} → {diff.about['tuned']}"
    counts = " · ".join(f"{n:,} {s}" for s, n in frame["status"].value_counts().items())
    write_line(console, f"[bold]{escape(what)}[/]  by {by}: {counts}")
    told = ("component", "layer", "row", "column", "token", "head", "kv_head", "status")
    shown = [word for word in told if word in frame and frame[word].notna().any()]
    metrics = dict.fromkeys([name, "relative_norm", "rotation", "scale_share", "energy_share"])
    weights = frame[frame["param"] == "weight"] if by == "head" else frame
    ranked = weights.sort_values(name, ascending=False, na_position="last", kind="stable").head(top)
    write_table(console, f"{by}s that moved most", records(ranked[[*shown, *metrics]]))
    write_named(console, "not cut", diff.about.get("uncut", {}))
    write_named(console, "unreadable", diff.about["unreadable"])
