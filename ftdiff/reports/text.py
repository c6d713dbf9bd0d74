"""Findings, summaries and audits as plain text, in the formats of their commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from ftdiff.analyses.audit import CI, Audit
from ftdiff.analyses.finding import Finding
from ftdiff.comparison.result import Diff
from ftdiff.errors import inert, one_line
from ftdiff.reports.published import renaming
from ftdiff.reports.summary import summary

FORMAT = "ftdiff.findings/1"


def findings(
    data: Any,
    found: Sequence[Finding],
    title: str,
    format_: str = "table",
    metric: str | None = None,
) -> str:
    """Write a summary and findings as "table", "json" or "markdown"."""
    spoken = isinstance(data, Diff | pd.DataFrame)
    lines = summary(data, found, metric) if spoken else getattr(data, "sentences", (repr(data),))
    if format_ == "markdown":
        from ftdiff.reports import markdown

        return markdown.words(title, lines, found, getattr(data, "about", {}))
    if format_ == "json":
        document = {
            "format": FORMAT,
            "title": title,
            "summary": list(lines),
            "findings": [one.record() for one in found],
        }
        return inert(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False))
    said = ["summary", *(f"  {one_line(line)}" for line in lines)]
    return "\n".join([*said, "findings", *_lines(found)])


def audit(found: Audit, format_: str = "table") -> str:
    """Write an audit as "table", "markdown" or one of the formats for CI systems."""
    if format_ == "markdown":
        from ftdiff.reports import markdown

        return markdown.audit(found)
    if format_ == "json":  # the record itself
        return CI[format_](found)
    if format_ != "table":
        public = renaming(found.about)
        told = tuple(replace(one, message=public(one.message)) for one in found.findings)
        return CI[format_](replace(found, findings=told))
    head = f"{found.verdict}: {found.about.get('tuned')} ({found.held_against})"
    lines = _lines(found.findings)
    said = [f"{line} (known)" if i in found.known else line for i, line in enumerate(lines)]
    return "\n".join([one_line(head), *said])


def _lines(found: Sequence[Finding]) -> list[str]:
    return [f"  {one.severity:<7} {one.rule:<24} {one_line(one.message)}" for one in found]
