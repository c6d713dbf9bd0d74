"""What a claim says: a diff's rows with exact numbers, what it was made of, and its findings.

Every measured number is written as C writes a float in hexadecimal ("0x1.8p+1"), exact to the bit.
The form is described in PREDICATE.md and predicate.schema.json, beside this file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftdiff.analyses.claims.envelope import PREDICATE, STATEMENT
from ftdiff.analyses.claims.stored import named
from ftdiff.analyses.finding import Finding
from ftdiff.comparison.frame import IDENTITY, length, plain, type_of
from ftdiff.comparison.result import Diff
from ftdiff.deltas.moments import COLUMNS, SUMS

#: Where the schema of a predicate is.
SCHEMA = f"{PREDICATE}/predicate.schema.json"
#: The name of a digest that is the same in any shards, among a subject's digests.
IN_ANY_SHARDS = "ftdiffTensorsV1"
#: What a row says of a tensor, in this order.
ROW = (*(name for name in IDENTITY if name != "note"), *COLUMNS)
#: What of a diff's `about` is said to others: nothing that names a folder of this machine.
_ABOUT = (
    *("base", "tuned", "kind", "coverage", "shares", "parts", "counts", "renamed", "unmatched"),
    *("unreadable", "notes", "reasons", "kinship", "structure", "files", "adapter", "config"),
    *("versions", "created"),
)
_HEX = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p[+-]\d{1,4}|-?inf")


def predicate(diff: Diff, findings: Sequence[Finding], sides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the predicate of a diff, of which `about` is fit for others to read.

    Parameters
    ----------
    diff
        The diff; only what comes from sums is said of it.
    findings
        What it shows.
    sides
        For each side its files and tensors, with their digests.
    """
    rows = [[encoded(row[name]) for name in ROW] for row in plain(diff.columns)]
    return {
        "schema": SCHEMA,
        "ftdiff": diff.about["versions"]["ftdiff"],
        "options": {"tuned_is_delta": is_delta(diff)},
        "about": {name: diff.about[name] for name in _ABOUT if name in diff.about},
        "columns": [*ROW],
        "rows": rows,
        "totals": totals(rows),
        "overall": encoded(diff.overall),
        "findings": [spoken(one) for one in findings],
        "sides": dict(sides),
    }


def statement(
    predicate: Mapping[str, Any], subjects: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return an in-toto statement of version 1."""
    return {
        "_type": STATEMENT,
        "subject": [*subjects],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def totals(rows: Sequence[Sequence[Any]]) -> dict[str, str]:
    """Return each sum over all rows that have one, added without error and rounded once."""
    found = {}
    for name in SUMS:
        at = ROW.index(name)
        values = [decoded(row[at]) for row in rows if row[at] is not None]
        try:
            found[name] = math.fsum(values).hex()
        except (OverflowError, ValueError):  # an infinity among them, or on the way
            found[name] = math.inf.hex()
    return found


def spoken(finding: Finding) -> dict[str, Any]:
    """Return a finding as a rule and its numbers."""
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "evidence": encoded(finding.evidence),
        "cells": [encoded([*cell]) for cell in finding.cells],
    }


def diff_of(predicate: Mapping[str, Any]) -> Diff:
    """Return the diff that a predicate is of, with every metric that comes from sums.

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        The predicate is not what was written.
    """
    names = predicate["columns"]
    rows = [
        {
            name: tuple(value) if name == "shape" and value is not None else _number(name, value)
            for name, value in zip(names, row, strict=True)
        }
        for row in predicate["rows"]
    ]
    return Diff.of_rows(rows, {**predicate["about"]})


def only_sums(diff: Diff, about: Mapping[str, Any]) -> Diff:
    """Return a diff with the metrics that come from sums, and none besides."""
    held = {name: diff.columns[name] for name in (*IDENTITY, *COLUMNS) if name in diff.columns}
    count = length(diff.columns)
    for name in ROW:
        if name not in held:  # a diff that was saved before it was measured
            held[name] = Diff.of_rows([{} for _ in range(count)], {}).columns[name]
    return Diff.of_columns(held, dict(about))


def is_delta(diff: Diff) -> bool:
    """Say whether the fine-tune was given as differences to its base."""
    return diff.about.get("kind") == "delta"


def for_others(told: Any, names: Mapping[str, str]) -> Any:
    """Return values with other names for the paths of this machine, by those paths."""
    if isinstance(told, str):
        for path, name in sorted(names.items(), key=lambda pair: -len(pair[0])):
            told = re.sub(rf"(?<![\w./~-]){re.escape(path.rstrip('/'))}(?=[/:]|$)", name, told)
        return told
    if isinstance(told, Mapping):
        return {for_others(key, names): for_others(one, names) for key, one in told.items()}
    if isinstance(told, list | tuple):
        return [for_others(one, names) for one in told]
    return told


def about_for_others(diff: Diff) -> dict[str, Any]:
    """Return what a diff was made of, its sides by the last part of their paths."""
    sides = [str(diff.about[side]) for side in ("base", "tuned") if diff.about.get(side)]
    names = {path: named(path) for path in sides if "/" in path.rstrip("/")}
    told = {name: diff.about[name] for name in _ABOUT if name in diff.about}
    found: dict[str, Any] = for_others(told, names)
    found["files"] = {
        side: [{k: v for k, v in file.items() if k in ("name", "bytes", "header_sha256")}
               for file in held]
        for side, held in found.get("files", {}).items()
    }  # fmt: skip
    return found


def encoded(value: Any) -> Any:
    """Return plain values with every float in hexadecimal.

    >>> encoded({"p": 0.5, "n": 3, "names": ("a",)})
    {'p': '0x1.0000000000000p-1', 'n': 3, 'names': ['a']}
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): encoded(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [encoded(one) for one in value]
    if isinstance(value, int):
        return value
    if hasattr(value, "tolist"):  # NumPy's own numbers and arrays
        return encoded(value.tolist())
    return "nan" if math.isnan(value) else float(value).hex()


def decoded(text: str) -> float:
    """Return the float that a text in hexadecimal is.

    Raises
    ------
    ValueError
        It is none.
    """
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise ValueError(f"{str(text)[:40]!r} is no number in hexadecimal")
    return float.fromhex(text)


def is_number(value: Any) -> bool:
    """Say whether an encoded value is a float."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _number(name: str, value: Any) -> Any:
    return decoded(value) if type_of(name) == "Float64" and value is not None else value
