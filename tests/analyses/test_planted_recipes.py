"""What was done to the trained fixtures is named: by audit, by a policy, by findings, by verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ftdiff
from ftdiff.analyses.audit import policy_of, read_policy
from ftdiff.analyses.finding import Finding
from tests.conftest import FIXTURES

BASE = FIXTURES / "base"
ATTENTION = {"attn.q", "attn.k", "attn.v", "attn.o"}
MLP = {"mlp.up", "mlp.down", "mlp.gate"}
STILL = {"embed.tokens", "norm.final", "norm.input", "norm.post_attention"}
SKIPPED = "model.layers.1.mlp.down_proj.weight"


def diff(name: str) -> ftdiff.Diff:
    return ftdiff.compare(BASE, FIXTURES / name)


def audited(name: str) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in ftdiff.audit(diff(name)).findings:
        found.setdefault(one.rule, []).append(one)
    return found


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Merge the committed adapters wrongly, with the functions that made the right ones."""
    out = tmp_path_factory.mktemp("faults")
    for name in ("base", "lora", "rslora"):
        (out / name).symlink_to(FIXTURES / name)
    command = [sys.executable, FIXTURES / "make.py", "--out", out, "--only"]
    subprocess.run(
        [*command, "wrong_scale", "twice", "one_skipped"],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
    )
    return out


def test_attention_only_is_named() -> None:
    (frozen,) = audited("attention")["frozen"]
    assert set(frozen.evidence["moved"]) == ATTENTION
    assert set(frozen.evidence["components"]) == MLP | STILL
    assert frozen.message == (
        "mlp.up, mlp.down, mlp.gate, norm.final, norm.input, norm.post_attention, embed.tokens "
        "are the base's throughout: 142 tensors."
    )
    assert "partly-frozen" not in audited("attention")


def test_the_upper_half_is_named() -> None:
    rules = audited("upper_half")
    said = {one.evidence["component"]: one.message for one in rules["partly-frozen"]}
    assert set(said) == ATTENTION | MLP
    for component, message in said.items():
        assert message == f"{component} moved in layers 14–27 and is the base's in layers 0–13."
    assert set(rules["frozen"][0].evidence["components"]) == STILL


def test_frozen_embeddings_and_norms_are_named() -> None:
    rules = audited("frozen")
    assert set(rules["frozen"][0].evidence["components"]) == STILL
    assert not {"embeddings-moved", "norms-moved", "head-moved", "partly-frozen"} & set(rules)
    assert len(rules["biases-moved"][0].evidence["tensors"]) == 3 * 28
    whole = audited("full")
    assert {"embeddings-moved", "norms-moved", "biases-moved"} <= set(whole)
    assert "frozen" not in whole


def test_a_root_of_the_rank_is_named() -> None:
    told = " ".join(one.message for one in audited("rslora")["scale"])
    assert "α/√r = 6/√4, use_rslora in adapter_config.json" in told
    assert "α/√r" not in " ".join(one.message for one in audited("attention")["scale"])


@pytest.mark.parametrize("name", ["attention", "upper_half", "frozen"])
def test_a_policy_written_from_a_recipe_is_broken_by_one_that_trained_more(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(policy_of(diff(name)))
    held = read_policy(path)
    assert ftdiff.audit(diff(name), held).ok
    more = "full" if name == "frozen" else "lora"
    broken = [one for one in ftdiff.audit(diff(more), held).findings if one.rule == "expectation"]
    moved = {*diff(more).frame.query("status == 'changed'")["tensor"]}
    known = {*diff(name).frame.query("status == 'changed'")["tensor"]}
    beyond = {x for one in broken for x in one.evidence["tensors"] if "limit" not in one.evidence}
    assert moved - known and moved - known <= beyond


@pytest.mark.parametrize("name", ["attention", "upper_half", "frozen"])
def test_findings_speak_of_no_cell_that_did_not_move(name: str) -> None:
    made = diff(name)
    moved = {
        (int(layer), str(component))
        for layer, component in made.frame.query("status == 'changed' and layer == layer")[
            ["layer", "component"]
        ].itertuples(index=False)
    }
    cells = {cell for one in ftdiff.findings(made) for cell in one.cells}
    assert cells <= moved


def test_a_merge_with_the_wrong_scale_is_named(faults: Path) -> None:
    found = ftdiff.verify(BASE, FIXTURES / "rslora", faults / "wrong_scale")
    assert (found.verdict, found.exit_code) == ("other_scale", 1)
    assert found.frame["status"].value_counts().to_dict() == {"scaled": 196, "untouched": 142}
    assert "looks like α/r where the adapter says α/√r (" in found.sentences[1]


def test_a_merge_that_was_done_twice_is_named(faults: Path) -> None:
    found = ftdiff.verify(BASE, FIXTURES / "lora", faults / "twice")
    assert (found.verdict, found.exit_code) == ("merged_twice", 1)
    assert found.sentences[1].startswith("196 × merged twice (")


def test_the_module_that_a_merge_skipped_is_named(faults: Path) -> None:
    found = ftdiff.verify(BASE, FIXTURES / "lora", faults / "one_skipped")
    assert (found.verdict, list(found.wrong["tensor"])) == ("partly_merged", [SKIPPED])
    assert found.sentences[1] == f"1 × the base's values: the merge skipped them ({SKIPPED})"


def test_the_faults_are_recorded_as_they_were_made(faults: Path) -> None:
    record = json.loads((faults / "recipes.json").read_text())
    assert record["twice"]["times"] == 2
    assert record["wrong_scale"]["settings"] == {"use_rslora": False}
    assert record["one_skipped"]["skipped"] == ["layers.1.mlp.down_proj"]
