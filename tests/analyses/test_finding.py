"""Findings of every analysis: rules in one spelling, and one door for all results."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ftdiff
from ftdiff.analyses.audit import AUDIT
from ftdiff.analyses.findings import RULES

ANALYSES = Path(ftdiff.__file__).parent / "analyses"


def _spelled() -> Iterator[str]:
    yield from (*RULES, *AUDIT)
    for path in ANALYSES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def test_rules_have_one_spelling() -> None:
    names = {*_spelled()}
    assert {"under-the-floor", "turned-back", "sign-conflict", "verdict"} <= names
    assert [name for name in names if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []
