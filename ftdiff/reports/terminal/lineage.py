"""What `ftdiff lineage` prints: the nearest candidate, and the evidence for each candidate."""

from __future__ import annotations

from ftdiff.analyses.lineage_result import Lineage
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.tables import (
    new_console,
    write_table,
)
from ftdiff.reports.terminal.verdict import show_verdict, show_whole


def show_lineage(found: Lineage, format_: str = "table") -> None:
    """Print which candidate is the nearest, and the evidence for each; or it as JSON or CSV."""
    if format_ == "table":
        show_verdict(found.verdict, found.sentences)
        write_table(new_console(), "candidates", records(found.frame))
    else:
        show_whole(found, format_)
