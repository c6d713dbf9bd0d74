"""An audit as CI systems read it: JSON, SARIF, JUnit and GitHub's annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.audit.result import Audit
from ftdiff.analyses.finding import SEVERITIES, Finding
from ftdiff.errors import inert, one_line

_LEVELS = dict(zip(SEVERITIES, ("note", "warning", "error"), strict=True))
_GITHUB = dict(zip(SEVERITIES, ("notice", "warning", "error"), strict=True))
#: Tensors that a SARIF result names as its locations.
_MOST = 100


def as_json(found: Audit) -> str:
    """Return everything as JSON."""
    return inert(json.dumps(found.record(), ensure_ascii=False, indent=1, allow_nan=False))


def sarif(found: Audit) -> str:
    """Return SARIF 2.1.0 (OASIS): a result per finding, tensors as logical locations."""
    uri = Path(str(found.about.get("tuned"))).as_posix()
    names = dict.fromkeys([*AUDIT, *(one.rule for one in found.findings)])
    rules = [
        {"id": name, "shortDescription": {"text": AUDIT[name].purpose if name in AUDIT else name}}
        for name in names
    ]
    results = [
        {
            "ruleId": one.rule,
            "level": _LEVELS[one.severity],
            "message": {"text": one_line(one.message)},
            "locations": [_location(one, uri)],
            "properties": {"evidence": one.evidence},
        }
        for one in found.findings
    ]
    driver = {"name": "ftdiff", "rules": rules}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return inert(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False))


def _location(one: Finding, uri: str) -> dict[str, Any]:
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    names = one.evidence.get("tensors", [])[:_MOST]
    if names:
        place["logicalLocations"] = [{"fullyQualifiedName": name} for name in names]
    return place


def junit(found: Audit) -> str:
    """Return JUnit's XML: a test case per rule and expectation, failed by its alarms."""
    said: dict[str, list[Finding]] = {name: [] for name in AUDIT}
    for one in found.findings:
        name = one.evidence.get("expectation") if one.rule == "expectation" else None
        said.setdefault(f"expectation: {name}" if name else one.rule, []).append(one)
    failed = sum(any(x.severity == "alarm" for x in many) for many in said.values())
    suite = ElementTree.Element(
        "testsuite", name="ftdiff audit", tests=str(len(said)), failures=str(failed), errors="0"
    )
    for name, many in said.items():
        case = ElementTree.SubElement(
            suite, "testcase", classname="ftdiff.audit", name=one_line(name)
        )
        alarms = [one_line(one.message) for one in many if one.severity == "alarm"]
        others = [one_line(one.message) for one in many if one.severity != "alarm"]
        if alarms:
            failure = ElementTree.SubElement(case, "failure", message=alarms[0], type=name)
            failure.text = "\n".join(alarms)
        if others:
            ElementTree.SubElement(case, "system-out").text = "\n".join(others)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def github(found: Audit) -> str:
    """Return workflow commands of GitHub Actions: an annotation per finding, then the verdict."""
    lines = [
        f"::{_GITHUB[one.severity]} title={_property(f'ftdiff {one.rule}')}::{_data(one.message)}"
        for one in found.findings
    ]
    return "\n".join([*lines, f"ftdiff audit {found.verdict}"])


def _data(text: str) -> str:
    return one_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


#: By the name of a format, what writes it.
CI: Mapping[str, Callable[[Audit], str]] = {
    "json": as_json,
    "sarif": sarif,
    "junit": junit,
    "github": github,
}
