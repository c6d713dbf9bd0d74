"""An audit as SARIF 2.1.0 (OASIS), so that GitHub's code scanning places it and knows it again."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
from collections.abc import Mapping
from typing import Any

from ftdiff.analyses.audit.identity import identity
from ftdiff.analyses.audit.places import relative_uri
from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.audit.result import Audit
from ftdiff.analyses.finding import SEVERITIES, Finding
from ftdiff.comparison.model_names import public_name
from ftdiff.comparison.provenance import version
from ftdiff.errors import inert, one_line

#: SARIF's words for severities.
LEVELS = dict(zip(SEVERITIES, ("note", "warning", "error"), strict=True))
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
#: Tensors that a result names as its locations.
_MOST = 100
# Weights have no lines: a result stands at the file's beginning.
_START = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2}


def sarif(found: Audit) -> str:
    """Return SARIF 2.1.0: a result per finding, tensors as logical locations, rules with help."""
    names = [*dict.fromkeys([*AUDIT, *(one.rule for one in found.findings)])]
    uri = relative_uri(found.about)
    sides = {side: _public(found.about.get(side)) for side in ("base", "tuned")}
    names_of = {str(found.about[side]): name for side, name in sides.items() if name}
    results = [
        {
            "ruleId": one.rule,
            "ruleIndex": names.index(one.rule),
            "level": LEVELS[one.severity],
            "message": {"text": one_line(one.message)},
            "locations": [_location(one, uri)],
            "partialFingerprints": _fingerprints(one, found.about),
            "properties": {
                "evidence": _named(one.evidence, names_of),
                "cells": [list(cell) for cell in one.cells],
            },
        }
        for one in found.findings
    ]
    for i in found.known:
        results[i]["baselineState"] = "unchanged"
    at = _address()
    driver = {"name": "ftdiff", "version": version(), **({"informationUri": at} if at else {})}
    rules = [_rule(name) | ({"helpUri": at} if at else {}) for name in names]
    run = {
        "tool": {"driver": {**driver, "rules": rules}},
        "automationDetails": {"id": "ftdiff-audit/"},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {**sides, "verdict": found.verdict},
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return inert(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False))


def _public(source: Any) -> str | None:
    return None if source is None else public_name(source)


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """Put names for the public where a value is one of the two sides."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {key: _named(held, names) for key, held in value.items()}
    return [_named(held, names) for held in value] if isinstance(value, list | tuple) else value


def _address() -> str:
    """Return the first address that the package names; "" where it names none."""
    try:
        told = importlib.metadata.metadata("ftdiff").get_all("Project-URL") or [""]
    except importlib.metadata.PackageNotFoundError:
        told = [""]
    return str(told[0]).partition(", ")[2]


def _rule(name: str) -> dict[str, Any]:
    """Return a rule: what it guards against, how grave it is, and how a policy changes that."""
    purpose, level, whole = "What the policy expects does not hold.", "error", ""
    if name in AUDIT:
        rule = AUDIT[name]
        purpose, level = rule.purpose, LEVELS[rule.severity]
        whole = inspect.getdoc(rule.check) or ""
    about = (whole or purpose).strip()
    change = (
        f'A policy changes how grave it is: [rules] {name} = "off", "note", "caution" or "alarm".'
        if name in AUDIT
        else "Its severity and limits are in the policy, under [[expect]]."
    )
    pascal = {"name": name.title().replace("-", "")} if "-" in name else {}  # else it is the id
    return {
        "id": name,
        **pascal,
        "shortDescription": {"text": purpose},
        "fullDescription": {"text": about},
        "help": {"text": f"{about}\n\n{change}", "markdown": f"{about}\n\n{change}"},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["weights"]},
    }


def _location(one: Finding, uri: str) -> dict[str, Any]:
    place: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": uri}, "region": _START}
    }
    names = one.evidence.get("tensors", [])[:_MOST]
    if names:
        place["logicalLocations"] = [{"fullyQualifiedName": name} for name in names]
    return place


def _fingerprints(one: Finding, about: Mapping[str, Any]) -> dict[str, str]:
    """Name a finding for who compares runs; GitHub reads the first, and else hashes a text line."""
    print_ = identity(one, about).fingerprint
    return {"primaryLocationLineHash": f"{print_[:16]}:1", "ftdiffFinding/v1": print_}
