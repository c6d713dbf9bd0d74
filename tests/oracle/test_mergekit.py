"""What mergekit made is told as it was made: fixtures/merges, from the first layers of others."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor

import ftdiff
from tests.conftest import FIXTURES

MERGES = FIXTURES / "merges"
RECIPES: dict[str, dict[str, Any]] = json.loads((MERGES / "recipes.json").read_text())["merges"]
State = dict[str, Tensor]


@cache
def cut(name: str, layers: int) -> State:
    """Return the first layers of a model, as `make_merges.py` gave them to mergekit."""
    state = {
        k: W
        for f in sorted((FIXTURES / name).glob("*.safetensors"))
        for k, W in load_file(f).items()
    }
    return {k: W for k, W in state.items() if ".layers." not in k or layer(k) < layers}


def layer(name: str) -> int:
    return int(name.split(".layers.")[1].split(".")[0])


def found(name: str, *, base: bool = True) -> ftdiff.MergeOf:
    layers = RECIPES[name]["layers"]
    parents = [cut("full", layers), cut("merged", layers)]
    merged = load_file(MERGES / f"{name}.safetensors")
    return ftdiff.merge_of(merged, parents, cut("base", layers) if base else None)


def coefficients(result: ftdiff.MergeOf) -> list[float]:
    return [*result.about["coefficients"].values()]


def test_the_recipes_name_what_made_them() -> None:
    versions = json.loads((MERGES / "recipes.json").read_text())["versions"]
    assert versions["mergekit"] == "0.1.5"
    assert {path.stem for path in MERGES.glob("*.safetensors")} == {*RECIPES}
    assert sum(path.stat().st_size for path in MERGES.iterdir()) < 1_000_000


@pytest.mark.parametrize("base", [True, False], ids=["base", "no base"])
@pytest.mark.parametrize("name", ["linear", "linear_bf16"])
def test_a_weighted_mean(name: str, base: bool) -> None:
    result = found(name, base=base)
    assert (result.verdict, result.exit_code) == ("exactly", 0)
    assert coefficients(result) == pytest.approx([0.6, 0.4], abs=0.001)
    assert "0.600000 of" in result.sentences[0]
    assert (result.frame["status"] == "exact").all()


def test_task_arithmetic_in_few_bits() -> None:
    result = found("task_arithmetic")
    assert result.verdict == "exactly"
    assert coefficients(result) == pytest.approx([0.7, 0.5], abs=0.005)
    low = result.frame["way"] == "low task"
    assert low.sum() > len(low) / 2 and (result.frame["replay"] == 1).all()
    assert found("task_arithmetic", base=False).verdict != "exactly"


@pytest.mark.parametrize("base", [True, False], ids=["base", "no base"])
def test_slerp(base: bool) -> None:
    result = found("slerp", base=base)
    assert result.verdict == "exactly" and "SLERP" in result.sentences[0]
    assert result.frame["t"].dropna().astype(float).to_numpy() == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize("base", [True, False], ids=["base", "no base"])
def test_weights_that_change_with_depth(base: bool) -> None:
    result = found("gradient", base=base)
    assert result.verdict == "exactly" and "0.300 to 0.9" in result.sentences[0]
    profile = result.profile.to_numpy(float)
    assert profile == pytest.approx(
        np.array([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5], [0.3, 0.7]]), abs=0.005
    )


@pytest.mark.parametrize("base", [True, False], ids=["base", "no base"])
def test_layers_that_are_stacked(base: bool) -> None:
    result = found("passthrough", base=base)
    first, second = result.about["parents"]
    said = f"stacked of 2 layers of {first} (0 to 1), 2 layers of {second} (2 to 3)"
    assert result.verdict == "exactly" and said in result.sentences[0]


@pytest.mark.parametrize(
    ("name", "like", "density", "strengths"),
    [
        ("ties", "TIES", 0.4, (1.0, 1.0)),
        ("dare_linear", "DARE", 0.5, (1.0, 1.0)),
        ("dare_bare", "DARE", 0.5, (0.7, 0.6)),
        ("dare_ties", "DARE-TIES", 0.5, (1.0, 1.0)),
    ],
)
def test_sparse_merges(name: str, like: str, density: float, strengths: tuple[float, ...]) -> None:
    result = found(name)
    assert (result.verdict, result.exit_code) == ("sparse", 5)
    assert result.sentences[0].startswith(
        f"a sparse merge ({like}-like), density {density:.1f}"
    ) or (
        result.sentences[0].startswith(
            f"a sparse merge ({like}-like), density {density - 0.01:.2f}"
        )
    )
    rows = result.frame[result.frame["status"] == "sparse"]
    assert rows["moved"].sum() > 0.95 * result.frame["moved"].sum()
    both = rows[rows["like"].notna()]
    assert {*both["like"]} == {like}
    weights = both["moved"].to_numpy(float)
    for column, right, room in (("density", (density,) * 2, 0.02), ("strengths", strengths, 0.02)):
        values = np.array([[*one] for one in both[column]], dtype=float)
        assert np.average(values, axis=0, weights=weights) == pytest.approx(right, abs=room)


def test_without_the_base_sparse_merges_are_not_told_and_that_is_said() -> None:
    result = found("ties", base=False)
    assert result.verdict == "none"
    assert (
        "without the base that they were tuned from, TIES and DARE are not told" in result.sentences
    )


@pytest.mark.parametrize("name", ["linear", "linear_bf16", "slerp", "task_arithmetic", "dare_ties"])
def test_a_lineage_never_calls_one_of_them_the_parent(name: str) -> None:
    merged = load_file(MERGES / f"{name}.safetensors")
    candidates = [cut(one, RECIPES[name]["layers"]) for one in ("base", "full", "merged")]
    result = ftdiff.lineage(merged, candidates)
    assert (result.verdict, result.parent, result.exit_code) == ("merge", None, 0)
    assert result.merge is not None
    assert result.merge["verdict"] == ("sparse" if name == "dare_ties" else "exactly")
