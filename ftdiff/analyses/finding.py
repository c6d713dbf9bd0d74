"""`Finding`: one sentence about a result and its numbers; and what says them of each result.

To let another kind of result speak: a function of it, under `@speaks_for(TheResult)`, in a module
that the result's package imports.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from ftdiff.errors import BadCall

Severity: TypeAlias = Literal["note", "caution", "alarm"]

#: From what is merely worth knowing to what must not be released.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

#: Null and power, in words, of what a rule reads or counts and does not estimate.
READ = "none is needed: it is read or counted, not estimated"
WHEREVER = "wherever it is"


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
        A whole sentence with its numbers. It speaks of movement; of worth where a text was run.
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

    @classmethod
    def of_record(cls, stored: Mapping[str, Any]) -> Finding:
        """Return the finding of a record.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none.
        """
        severity, evidence = stored["severity"], stored["evidence"]
        if severity not in SEVERITIES or not isinstance(evidence, dict):
            raise TypeError("severity or evidence")
        cells = tuple((layer, str(component)) for layer, component in stored.get("cells", ()))
        return cls(str(stored["rule"]), severity, str(stored["message"]), evidence, cells)


#: What says the findings of each kind of result.
SPEAKERS: dict[type, Callable[..., list[Finding]]] = {}
S = TypeVar("S", bound=Callable[..., list[Finding]])


def speaks_for(*kinds: type) -> Callable[[S], S]:
    """Register a function of a result of these kinds, and return it as it was."""

    def register(speaker: S) -> S:
        SPEAKERS.update(dict.fromkeys(kinds, speaker))
        return speaker

    return register


def findings(
    result: Any,
    metric: str | None = None,
    *,
    limits: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Finding]:
    """Say what a result shows: movement, where it differs, and what explains it.

    Parameters
    ----------
    result
        A diff, or a matrix with a row per layer and a column per component; a similarity, a
        trajectory, a verification or a lineage.
    metric
        Of a diff or a matrix, what patterns are looked for in: by default the relative norm;
        without a base the root-mean-square change. Of a plain matrix, any text.
    limits
        Of a diff or a matrix, thresholds to use instead of the defaults, by rule:
        ``{"contrast": {"ratio": 1.5}}``.

    Returns
    -------
    list of Finding
        Of a diff what is broken, and then in the order of its rules, a stack after the other; of
        other results alarms first. Deterministic.

    Raises
    ------
    UnknownName
        A metric, a rule or one of its thresholds does not exist.
    BadCall
        This has no findings, or none that a metric or a limit changes.
    """
    kind = next((kind for kind in type(result).__mro__ if kind in SPEAKERS), None)
    if kind is None:
        other = type(result).__name__
        raise BadCall(f"findings are of a Diff, a DataFrame or another result; this is {other}")
    speaker = SPEAKERS[kind]
    given = {"metric": metric, "limits": limits}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in inspect.signature(speaker).parameters:
            raise BadCall(f"findings of a {kind.__name__} have no {name} to choose")
    return speaker(result, **options)


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


def layer_spans(layers: list[int]) -> str:
    """Write layers as runs.

    >>> layer_spans([0, 1, 2, 5])
    '0–2, 5'
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(f"{a}–{b}" if a != b else f"{a}" for a, b in runs)
