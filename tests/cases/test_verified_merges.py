"""What a verification says of merges that are nearly right, and of changes that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.cases.situations import write_base, write_lora
from tests.conftest import write_model

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return write_lora(tmp_path / "lora")


def merged(tmp_path: Path, *, times: float = 1.0) -> Path:
    base, whole = situations.state(), situations.merged()
    told = {name: W + times * (whole[name] - W) for name, W in base.items()}
    return write_model(tmp_path / "merged", whole if times == 1 else told)


def row(found: ftdiff.Verification, name: str) -> dict[str, object]:
    (one,) = found.frame[found.frame["tensor"] == name].to_dict("records")
    return one


def test_a_change_that_is_exactly_zero_is_said_to_be(tmp_path: Path, base: Path) -> None:
    zeros = {k: 0 * t if "lora_B" in k else t for k, t in situations.factors().items()}
    lora = write_lora(tmp_path / "zeros", zeros)
    found = ftdiff.verify(base, lora, merged(tmp_path))
    assert found.verdict == "other_change"
    assert "ΔW is exactly zero" in found.sentences[1]
    assert row(found, Q)["said"] == (
        "another change: the adapter's ΔW is exactly zero, and all 1,024 of its entries are not "
        "the base's"
    )
    assert "nan" not in " ".join(map(str, found.frame["said"]))


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_single_entries_that_are_not_finite_are_corrupted(
    tmp_path: Path, base: Path, lora: Path, value: float
) -> None:
    whole = situations.merged()
    whole[Q] = whole[Q].clone()
    whole[Q][0, 0] = value
    found = ftdiff.verify(base, lora, write_model(tmp_path / "m", whole))
    assert (found.verdict, row(found, Q)["status"]) == ("corrupted", "corrupted")
    assert row(found, Q)["said"] == (
        "1 entry is not what the merge gives (1 finite on one side alone); the other 1,023 are"
    )


def test_a_matrix_that_is_not_finite_is_no_accident(tmp_path: Path, base: Path, lora: Path) -> None:
    whole = {**situations.merged(), Q: torch.full_like(situations.state()[Q], float("nan"))}
    found = ftdiff.verify(base, lora, write_model(tmp_path / "m", whole))
    assert found.verdict == "other_change"
    assert row(found, Q)["said"] == "all 1,024 of its entries are finite on one side alone"


@pytest.mark.parametrize(("given", "times"), [(0.5, 1.0), (1.0, 2.0), (2.0, 1.0)])
def test_a_scale_is_told_against_the_strength_that_was_given(
    tmp_path: Path, base: Path, lora: Path, given: float, times: float
) -> None:
    found = ftdiff.verify(base, [(lora, given)], merged(tmp_path, times=times))
    assert found.verdict == "other_scale"
    assert f"12 × merged at {times:g}, not at the strength given, {given:g} (" in found.sentences[1]
    assert "twice" not in " ".join([*found.sentences, *map(str, found.frame["said"])])


def test_of_several_adapters_each_is_told_against_its_own_strength(
    tmp_path: Path, base: Path, lora: Path
) -> None:
    other = write_lora(
        tmp_path / "second",
        situations.factors(seed=9, targets=["k_proj"]),
        target_modules=["k_proj"],
    )
    both = situations.merged(situations.factors(seed=9, targets=["k_proj"]))
    both = {name: both[name] if "k_proj" in name else W for name, W in situations.merged().items()}
    found = ftdiff.verify(base, [(lora, 0.5), (other, 1.0)], write_model(tmp_path / "m", both))
    assert found.verdict == "other_scale"
    assert "12 × merged at 1, not at the strength given, 0.5 (" in found.sentences[1]


def test_a_right_strength_holds(tmp_path: Path, base: Path, lora: Path) -> None:
    assert ftdiff.verify(base, [(lora, 0.5)], merged(tmp_path, times=0.5)).ok
