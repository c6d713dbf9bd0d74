"""The shipped schemas hold of what is really written, and refuse what is not read."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import ftdiff
from ftdiff.analyses.audit import CI, policy_of, read_policy
from ftdiff.analyses.audit.expectation import WORDS
from ftdiff.comparison.frame import IDENTITY, PARTS
from ftdiff.comparison.schemas import SCHEMAS, schema
from ftdiff.comparison.statuses import STATUSES
from ftdiff.deltas.moments import COLUMNS
from ftdiff.errors import BadFile, UnknownName
from tests.cases.situations import merged, state
from tests.conftest import FIXTURES

BASE = FIXTURES / "base"
SAVED = Path(__file__).parent / "saved" / "diff.json"


def faults(name: str, document: Any) -> list[str]:
    found = Draft202012Validator(schema(name)).iter_errors(document)
    return [f"{one.json_path}: {one.message}"[:200] for one in found]


def hostile() -> ftdiff.Diff:
    """A NaN, an infinity, an added and a reshaped tensor, names that are no identifiers."""
    base = {"a.<b>\n": np.ones((2, 2)), "w": np.ones((3, 2)), "big": np.full((2, 2), 1e200)}
    tuned = {"a.<b>\n": np.full((2, 2), np.nan), "w": np.ones((2, 2)), "big": np.zeros((2, 2))}
    return ftdiff.compare(base, {**tuned, "new": np.ones(3)})


DIFFS = {
    "lora": lambda: ftdiff.compare(BASE, FIXTURES / "lora", "spectral"),
    "full": lambda: ftdiff.compare(BASE, FIXTURES / "full", hash=True),
    "no base": lambda: ftdiff.compare(None, FIXTURES / "rslora"),
    "itself": lambda: ftdiff.compare(BASE, BASE),
    "memory": lambda: ftdiff.compare(state(), merged()),
    "hostile": hostile,
    "rows": lambda: ftdiff.parts.rows(BASE, FIXTURES / "full", "layers.0.self_attn.q_proj.weight"),
    "old": lambda: ftdiff.load(SAVED),
    "empty": lambda: ftdiff.Diff.of_rows(
        [], {"base": None, "tuned": None, "kind": None, "coverage": 0.0}
    ),
}


@pytest.mark.parametrize("name", DIFFS)
def test_what_is_written_is_valid_and_names_its_schema(name: str, tmp_path: Path) -> None:
    diff = DIFFS[name]()
    document = json.loads(diff.save(tmp_path / "diff.json").read_text())
    assert document["$schema"] == schema("diff")["$id"]
    assert faults("diff", document) == []
    record = json.loads(CI["json"](diff.audit())) if len(diff.frame) and name != "rows" else None
    if record is not None:
        assert record["$schema"] == schema("audit")["$id"] and faults("audit", record) == []
        told = tomllib.loads(policy_of(diff))
        assert told["$schema"] == schema("policy")["$id"] and faults("policy", told) == []


def test_an_audit_of_a_selection_is_valid(tmp_path: Path) -> None:
    diff = ftdiff.compare(BASE, FIXTURES / "lora", selection={"layers": "0-3"})
    assert faults("diff", json.loads(diff.save(tmp_path / "diff.json").read_text())) == []
    record = json.loads(CI["json"](ftdiff.audit(diff)))
    assert record["verdict"] == "passed in part" and record["about"]["selection"]["of"] > 1
    assert faults("audit", record) == []
    assert faults("audit", _changed(record, "verdict", "passed in full"))
    assert faults("audit", _changed(record, "about/selection/of", "many"))


def test_a_known_finding_is_valid(tmp_path: Path) -> None:
    diff = DIFFS["lora"]()
    again = ftdiff.audit(diff, baseline=diff, fail_on="note")
    assert again.known and faults("audit", json.loads(CI["json"](again))) == []


def _changed(document: Any, path: str, value: Any) -> Any:
    document = copy.deepcopy(document)
    *parts, last = path.split("/")
    held = document
    for part in parts:
        held = held[int(part) if part.isdecimal() else part]
    held[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "ftdiff.diff/9"),
        ("tensors", {}),
        ("about", []),
        ("about/notes", "x"),
        ("about/coverage", "all"),
        ("about/unreadable", []),
        ("about/reasons", [3]),
        ("tensors/0/shape", [-1]),
        ("tensors/0/delta_sq", "much"),
    ],
)
def test_what_the_schema_refuses_is_not_read(path: str, value: Any, tmp_path: Path) -> None:
    document = json.loads(ftdiff.load(SAVED).save(tmp_path / "diff.json").read_text())
    assert faults("diff", document) == []
    wrong = _changed(document, path, value)
    assert faults("diff", wrong)
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(BadFile):
        ftdiff.Diff.load(tmp_path / "wrong.json")


def test_an_older_diff_is_still_read_and_has_no_schema() -> None:
    assert "$schema" not in json.loads(SAVED.read_text())
    assert len(ftdiff.load(SAVED).frame) == 6


@pytest.mark.parametrize(
    "text",
    [
        'unlisted = "perhaps"',
        "rule = 1",
        "[rules]\nscale = 'loud'",
        "[rules]\nscale = true",
        "format = 'x/2'",
        "expect = 3",
        "[[expect]]\nwher = {}",
        "[[expect]]\nwhere = { componnt = 'x' }",
        "[[expect]]\nwhere = { layer = 1.5 }",
        "[[expect]]\nmax = { relative_norm = 'x' }",
        "[[expect]]\nmoves = 1",
        "[[expect]]\nseverity = 'off'",
    ],
)
def test_schema_and_reader_of_a_policy_refuse_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(BadFile):
        read_policy(tmp_path / "p.toml")
    assert faults("policy", tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"$schema" = "urn:ftdiff:schema:policy:1"',
        'format = "ftdiff.policy/1"\n[rules]\nscale = "off"\nfrozen = false\n',
        '[[expect]]\nwhere = { layer = ["0-3", 7], component = "attn.*" }\nmoves = true',
        "[[expect]]\nmax = { relative_norm = 1 }\nmin = { rotation = 0.1 }\nseverity = 'note'",
    ],
)
def test_schema_and_reader_of_a_policy_take_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(text)
    read_policy(tmp_path / "p.toml")
    assert faults("policy", tomllib.loads(text)) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_describes_what_it_names(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$id"] == f"urn:ftdiff:schema:{name}:{SCHEMAS[name].split('-')[1].split('.')[0]}"
    assert found["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    with pytest.raises(UnknownName, match="did you mean"):
        schema(f"{name}s")


def test_the_schemas_name_every_column_and_word() -> None:
    rows = schema("diff")["$defs"]["tensor"]["properties"]
    assert [*rows] == [*IDENTITY, *PARTS, *COLUMNS]
    assert rows["status"]["enum"] == [*STATUSES]
    kinds = {"string": "string", "Int64": "integer"}
    for name, kind in {**IDENTITY, **PARTS}.items():
        assert rows[name].get("type", kinds.get(kind)) == kinds.get(kind, "array"), name
    where = schema("policy")["$defs"]["expectation"]["properties"]["where"]
    assert [*where["properties"]] == [*WORDS]
