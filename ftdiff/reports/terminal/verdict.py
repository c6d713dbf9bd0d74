"""A verdict and its sentences, or the whole of a judged result as JSON or CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ftdiff.analyses.claims import ClaimCheck
from ftdiff.analyses.lineage_result import Lineage
from ftdiff.analyses.merges import MergeOf
from ftdiff.analyses.recovery import Recovery
from ftdiff.analyses.verification import Verification
from ftdiff.comparison import csv_text
from ftdiff.reports.terminal.tables import escape, new_console, write_line


def show_verdict(verdict: str, sentences: Iterable[str]) -> None:
    """Print a verdict, and the sentences behind it."""
    console = new_console()
    write_line(console, f"[bold]{escape(verdict)}[/]")
    for sentence in sentences:
        write_line(console, escape(sentence), indent=2, hang=2)


def show_whole(
    found: Verification | Lineage | MergeOf | Recovery | ClaimCheck, format_: str
) -> None:
    """Print all of a result as JSON or CSV."""
    if format_ == "json":
        sys.stdout.write(found.json() + "\n")
    else:
        csv_text.write(found.frame, sys.stdout)
