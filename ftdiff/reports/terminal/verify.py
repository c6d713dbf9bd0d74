"""What `ftdiff verify` prints: a verdict, its sentences, a table of what is wrong."""

from __future__ import annotations

from ftdiff.analyses.verification import Verification
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.tables import (
    ROWS,
    new_console,
    write_named,
    write_table,
)
from ftdiff.reports.terminal.verdict import show_verdict, show_whole


def show_verification(found: Verification, format_: str = "table") -> None:
    """Print a verdict, its sentences and a table of what is wrong; or all rows as JSON or CSV."""
    if format_ == "table":
        show_verdict(f"{found.verdict}: {found.about['merged']}", found.sentences)
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        wrong = found.wrong[shown].head(ROWS)
        write_table(new_console(), "what is wrong" if len(wrong) else "", records(wrong))
        write_named(new_console(), "matched nothing", found.about["unmatched"])
    else:
        show_whole(found, format_)
