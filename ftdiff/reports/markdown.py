"""Findings, summaries and audits as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ftdiff.analyses.audit import Audit
from ftdiff.analyses.finding import Finding
from ftdiff.errors import one_line

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def words(title: str, summary: Sequence[str], found: Sequence[Finding]) -> str:
    """Write a summary, and the findings behind it."""
    parts = [f"## {safe(title)}", "", *(f"- {safe(line)}" for line in summary)]
    return "\n".join([*parts, "", "### Findings", "", *_table(found), ""])


def audit(found: Audit) -> str:
    """Write an audit's verdict and findings."""
    title = f"## ftdiff audit {found.verdict}: {safe(str(found.about.get('tuned')))}"
    told = [
        replace(one, message=f"{one.message} (known)") if i in found.known else one
        for i, one in enumerate(found.findings)
    ]
    return "\n".join([title, "", f"Policy: {safe(found.held_against)}", "", *_table(told), ""])


def safe(text: str) -> str:
    """Show a text as it is: names come from files, and none of them is markup."""
    return _SPECIAL.sub(r"\\\1", one_line(text))


def _table(found: Iterable[Finding]) -> list[str]:
    rows = [f"| {one.severity} | {one.rule} | {safe(one.message)} |" for one in found]
    if not rows:
        return ["Nothing was found."]
    return ["| severity | rule | what was found |", "| --- | --- | --- |", *rows]
