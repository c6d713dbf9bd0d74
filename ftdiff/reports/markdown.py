"""Findings, summaries and audits as Markdown, which is published: with names for the public."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ftdiff.analyses.audit import Audit
from ftdiff.analyses.finding import Finding
from ftdiff.reports.escaping import MARKDOWN
from ftdiff.reports.escaping import markdown as safe
from ftdiff.reports.published import renaming


def words(
    title: str,
    summary: Sequence[str],
    found: Sequence[Finding],
    about: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Write a summary, and the findings behind it; `about` is what they are of, if it is known."""
    public = renaming(about)
    parts = [f"## {safe(public(title))}", "", *(f"- {safe(public(line))}" for line in summary)]
    return "\n".join([*parts, "", "### Findings", "", _table(found, public), ""])


def audit(found: Audit) -> str:
    """Write an audit's verdict and findings."""
    public = renaming(found.about)
    title = f"## ftdiff audit {found.verdict}: {safe(public(str(found.about.get('tuned'))))}"
    told = [
        replace(one, message=f"{one.message} (known)") if i in found.known else one
        for i, one in enumerate(found.findings)
    ]
    policy = f"Policy: {safe(public(found.held_against))}"
    return "\n".join([title, "", policy, "", _table(told, public), ""])


def _table(found: Sequence[Finding], public: Callable[[str], str]) -> str:
    told = [replace(one, message=public(one.message)) for one in found]
    return MARKDOWN.get_template("findings.md.jinja").render(found=told).rstrip("\n")
