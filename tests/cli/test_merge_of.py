"""`ftdiff merge-of`, as the shell sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import ftdiff
from ftdiff.cli import ftdiff as door
from tests.analyses import planted_merges as planted
from tests.conftest import write_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, W = tmp_path_factory.mktemp("models"), planted.base()
    A, B, C = planted.tuned(W, 3, 5e-3)
    whole = planted.linear([A, B], [0.6, 0.4], dtype=torch.float32)
    parts = [planted.linear([A, B], [share, 1 - share]) for share in (0.2, 0.8)]
    states = {
        "base": W, "a": A, "b": B, "c": C,
        "merged": planted.linear([A, B], [0.6, 0.4]),
        "trained": planted.trained(whole, 1e-4),
        "missing": planted.linear([A, B, C], [0.5, 0.3, 0.2]),
        "ties": planted.ties(W, [A, B], 0.4),
        "by_layer": {name: parts[int(".1." in name)][name] for name in W},
    }  # fmt: skip
    return {name: write_model(folder / name, state) for name, state in states.items()}


def run(models: dict[str, Path], merged: str, *more: str) -> Result:
    command = ["merge-of", *(str(models[name]) for name in (merged, "a", "b")), *more]
    return CliRunner().invoke(door, [*command, "--base", str(models["base"])])


@pytest.mark.parametrize(
    ("merged", "code", "said"),
    [
        ("merged", 0, "a merge, exactly: 0.60000 of a + 0.40000"),
        ("trained", 3, "a merge, then changed: 0.60"),
        ("missing", 4, "partly from these"),
        ("ties", 5, "a sparse merge (TIES-like), density 0.2"),
        ("c", 1, "no merge of these"),
        ("a", 1, "no merge: it is a"),
    ],
)
def test_each_verdict_has_its_exit_code(
    merged: str, code: int, said: str, models: dict[str, Path]
) -> None:
    done = run(models, merged)
    assert done.exit_code == code and said in done.output


def test_coefficients_that_are_not_one_are_shown_by_layer(models: dict[str, Path]) -> None:
    assert "coefficients by layer" in run(models, "by_layer").output
    assert "coefficients by layer" not in run(models, "merged").output


def test_what_is_printed_and_written_is_the_result(models: dict[str, Path], tmp_path: Path) -> None:
    done = run(models, "merged", "--format", "json", "--sample", "500", "-o", str(tmp_path / "o"))
    held = ftdiff.load(tmp_path / "o" / "merge.json")
    assert isinstance(held, ftdiff.MergeOf) and held.about["sample"] == 500
    assert json.loads(done.stdout) == json.loads(held.json())
    assert (tmp_path / "o" / "merge.csv").read_text().startswith("tensor,")
    wrong = CliRunner().invoke(door, ["merge-of", *(str(models[name]) for name in ("merged", "a"))])
    assert wrong.exception is not None and "two parents are needed" in str(wrong.exception)
