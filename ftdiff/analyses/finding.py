"""`Finding`: one sentence about a diff, the numbers that it rests on, the cells that it is of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

Severity: TypeAlias = Literal["note", "caution", "alarm"]

#: From what is merely worth knowing to what must not be released.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """What was found, by which rule, on what evidence.

    Attributes
    ----------
    rule
        Name of the rule that speaks.
    severity
        One of `SEVERITIES`.
    message
        A whole sentence with its numbers. It speaks of movement, never of importance.
    evidence
        Plain values: the statistic, its null and the names behind it.
    cells
        The cells of the heatmap it is of, as (layer, component).
    """

    rule: str
    severity: Severity
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    cells: tuple[tuple[Hashable, str], ...] = ()

    def record(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "evidence": self.evidence,
            "cells": [list(cell) for cell in self.cells],
        }


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings by severity; those of one severity stay in their order."""
    return sorted(findings, key=lambda one: -SEVERITIES.index(one.severity))


def listed(names: list[str], most: int = 3) -> str:
    """Name the first few.

    >>> listed(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def counted(count: int, one: str, many: str = "") -> str:
    """Count things in words.

    >>> counted(1, "layer"), counted(28, "layer")
    ('1 layer', '28 layers')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
