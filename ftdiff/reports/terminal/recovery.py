"""What `ftdiff recover` prints: a verdict and its sentences."""

from __future__ import annotations

from ftdiff.analyses.recovery import Recovery
from ftdiff.reports.terminal.verdict import show_verdict, show_whole


def show_recovery(found: Recovery, format_: str = "table") -> None:
    """Print a verdict and its sentences; or all rows as JSON or CSV."""
    if format_ == "table":
        show_verdict(found.headline, found.sentences)
    else:
        show_whole(found, format_)
