"""An audit as CI systems read it: JSON, SARIF, JUnit and GitHub's annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.etree import ElementTree

from ftdiff.analyses.audit.registry import AUDIT
from ftdiff.analyses.audit.result import Audit
from ftdiff.analyses.audit.sarif_log import sarif
from ftdiff.analyses.finding import SEVERITIES, Finding
from ftdiff.comparison.model_names import public_name
from ftdiff.comparison.provenance import version
from ftdiff.errors import one_line

_GITHUB = dict(zip(SEVERITIES, ("notice", "warning", "error"), strict=True))


def as_json(found: Audit) -> str:
    """Return everything as JSON."""
    return found.json()


def junit(found: Audit) -> str:
    """Return JUnit's XML: a test case per rule and expectation, failed by what fails the audit."""
    said: dict[str, list[tuple[Finding, bool]]] = {name: [] for name in AUDIT}
    for one, fails in zip(found.findings, found.failing, strict=True):
        name = one.evidence.get("expectation") if one.rule == "expectation" else None
        said.setdefault(f"expectation: {name}" if name else one.rule, []).append((one, fails))
    failed = sum(any(fails for _, fails in many) for many in said.values())
    suite = ElementTree.Element(
        "testsuite", name="ftdiff audit", tests=str(len(said)), failures=str(failed), errors="0"
    )
    _properties(suite, found)
    for name, many in said.items():
        case = ElementTree.SubElement(
            suite, "testcase", classname="ftdiff.audit", name=one_line(name)
        )
        broken = [one_line(one.message) for one, fails in many if fails]
        others = [one_line(one.message) for one, fails in many if not fails]
        if broken:
            failure = ElementTree.SubElement(
                case, "failure", message=broken[0], type=one_line(name)
            )
            failure.text = "\n".join(broken)
        if others:
            ElementTree.SubElement(case, "system-out").text = "\n".join(others)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _properties(suite: ElementTree.Element, found: Audit) -> None:
    held = ElementTree.SubElement(suite, "properties")
    told = {"ftdiff": version(), "policy": public_name(found.policy), "fail_on": found.fail_on}
    told["verdict"] = found.verdict
    if chosen := found.about.get("selection"):
        told["selection"] = f"{chosen['tensors']:,} of {chosen['of']:,} tensors"
    told |= {
        side: public_name(found.about[side]) for side in ("base", "tuned") if found.about.get(side)
    }
    for name, value in told.items():
        ElementTree.SubElement(held, "property", name=name, value=one_line(value))


def github(found: Audit) -> str:
    """Return workflow commands of GitHub Actions: an annotation per finding, then the verdict."""
    lines = [
        f"::{_GITHUB['note' if i in found.known else one.severity]} "
        f"title={_property(f'ftdiff {one.rule}')}::{_data(one.message)}"
        for i, one in enumerate(found.findings)
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
