"""Findings, summaries and audits as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ftdiff.analyses.audit import Audit
from ftdiff.analyses.finding import Finding
from ftdiff.reports.escaping import MARKDOWN
from ftdiff.reports.escaping import markdown as safe


def words(title: str, summary: Sequence[str], found: Sequence[Finding]) -> str:
    """Write a summary, and the findings behind it."""
    parts = [f"## {safe(title)}", "", *(f"- {safe(line)}" for line in summary)]
    return "\n".join([*parts, "", "### Findings", "", _table(found), ""])


def audit(found: Audit) -> str:
    """Write an audit's verdict and findings."""
    title = f"## ftdiff audit {found.verdict}: {safe(str(found.about.get('tuned')))}"
    told = [
        replace(one, message=f"{one.message} (known)") if i in found.known else one
        for i, one in enumerate(found.findings)
    ]
    return "\n".join([title, "", f"Policy: {safe(found.held_against)}", "", _table(told), ""])


def _table(found: Sequence[Finding]) -> str:
    return MARKDOWN.get_template("findings.md.jinja").render(found=found).rstrip("\n")
