"""The registry of audit rules: a generator of findings, its severity, and what it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import pandas as pd

from ftdiff.analyses.finding import (
    READ,
    WHEREVER,
    Finding,
    Severity,
    counted,
    listed,
)
from ftdiff.comparison.frame import records
from ftdiff.comparison.result import Diff
from ftdiff.registry import Registry

Check: TypeAlias = Callable[..., Iterator[Finding]]
C = TypeVar("C", bound=Check)

#: Names that a finding's evidence holds at most.
_MOST = 1000


@dataclass(frozen=True)
class AuditRule:
    """A built-in rule.

    Attributes
    ----------
    name
        As in `Finding.rule` and in a policy's `[rules]`.
    severity
        What a finding of it is, unless a policy says otherwise; an alarm fails the audit.
    purpose
        What it guards against, in one sentence.
    check
        Takes a diff, then limits by keyword; yields findings.
    null, power
        Words: what it is held against, and what it would see.
    """

    name: str
    severity: Severity
    purpose: str
    check: Check
    null: str = READ
    power: str = WHEREVER


AUDIT: Registry[AuditRule] = Registry("audit rule")


def audit_rule(
    name: str, severity: Severity, *, null: str = READ, power: str = WHEREVER
) -> Callable[[C], C]:
    """Register a generator as an audit rule, and return it as it was; its docstring says why."""

    def register(check: C) -> C:
        purpose = (check.__doc__ or "").strip().partition("\n")[0]
        AUDIT.add(name, AuditRule(name, severity, purpose, check, null, power))
        return check

    return register


def finding(name: str, message: str, rows: pd.DataFrame | None = None, **evidence: Any) -> Finding:
    """Return a finding of a rule with its severity, its tensors and their cells."""
    said = {"tensors": [], **evidence} if rows is None else {**_names(rows), **evidence}
    cells = () if rows is None else _cells(rows)
    return Finding(name, AUDIT[name].severity, message, said, cells)


def tensors(rows: pd.DataFrame, what: str) -> str:
    """Count rows, say what of them, and name the first.

    >>> tensors(pd.DataFrame({"tensor": ["a", "b"]}), "moved")
    '2 tensors moved (a, b)'
    """
    names = [str(name) for name in rows["tensor"]]
    return f"{counted(len(rows), 'tensor')} {what} ({listed(names)})"


def is_adapter(diff: Diff) -> bool:
    """Say whether the fine-tune is an unmerged adapter."""
    return diff.about.get("kind") != "full"


def _names(rows: pd.DataFrame) -> dict[str, Any]:
    names = [str(name) for name in rows["tensor"]]
    more = {"more": len(names) - _MOST} if len(names) > _MOST else {}
    return {"tensors": names[:_MOST], **more}


def _cells(rows: pd.DataFrame) -> tuple[tuple[int, str], ...]:
    if "layer" not in rows or "component" not in rows:
        return ()
    return tuple(
        dict.fromkeys(
            (int(row["layer"]), str(row["component"]))
            for row in records(rows[["layer", "component"]])
            if row["layer"] is not None and row["component"] is not None
        )
    )
