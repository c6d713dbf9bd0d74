"""Findings, a line each, marked by how grave they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftdiff.analyses.finding import SEVERITIES, Finding
from ftdiff.reports.terminal.tables import escape, write_line

# More names than this have no matrix in a terminal; the nearest of each are shown instead.
_MATRIX, _ROWS = 12, 24
_COLOURS = dict(zip(SEVERITIES, ("dim", "yellow", "red"), strict=True))


def write_findings(out: Any, findings: Sequence[Finding]) -> None:
    """Print findings, the mark of each in its colour."""
    for one in findings:
        mark = _COLOURS[one.severity]
        write_line(out, f"[{mark}]{one.severity}[/] {escape(one.message)}")
