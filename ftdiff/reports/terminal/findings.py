"""Findings, a line each, marked by how grave they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftdiff.analyses.finding import Finding
from ftdiff.reports.terminal.tables import escape

# More names than this have no matrix in a terminal; the nearest of each are shown instead.
_MATRIX, _ROWS = 12, 24


def write_findings(out: Any, findings: Sequence[Finding]) -> None:
    """Print findings, the mark of each in its colour."""
    for one in findings:
        mark = {"alarm": "red", "caution": "yellow", "note": "dim"}[one.severity]
        out.print(f"[{mark}]{one.severity}[/] {escape(one.message)}", soft_wrap=True)
