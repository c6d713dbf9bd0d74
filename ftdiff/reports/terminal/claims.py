"""What `ftdiff verify-claim` prints: a verdict in words, or one line that names a fault."""

from __future__ import annotations

from ftdiff.analyses.claims import ClaimCheck
from ftdiff.reports.terminal.tables import escape, new_console, write_line
from ftdiff.reports.terminal.verdict import show_verdict, show_whole


def show_check(found: ClaimCheck, format_: str = "table") -> None:
    """Print verdict and sentences; of a claim that does not hold one line; or all rows."""
    if format_ != "table":
        show_whole(found, format_)
    elif found.ok:
        show_verdict(found.verdict, found.sentences)
    else:
        verdict = found.verdict.replace("_", " ")
        write_line(new_console(), f"[bold]{verdict}[/]: {escape(found.sentences[0])}")
