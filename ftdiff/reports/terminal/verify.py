"""What `ftdiff verify` prints: a verdict, its sentences, a table of what is wrong."""

from __future__ import annotations

from ftdiff.analyses.verification import Verification
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.tables import (
    ROWS,
    new_console,
    write_named,
    write_rest,
    write_table,
)
from ftdiff.reports.terminal.verdict import show_verdict, show_whole


def show_verification(found: Verification, format_: str = "table") -> None:
    """Print a verdict, its sentences and a table of what is wrong; or all rows as JSON or CSV."""
    if format_ == "table":
        show_verdict(found.headline, found.sentences)
        console = new_console()
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        wrong = found.wrong[shown]
        write_table(console, "what is wrong", records(wrong.head(ROWS)))
        write_rest(console, len(wrong))
        write_named(console, "matched nothing", found.about["unmatched"])
    else:
        show_whole(found, format_)
