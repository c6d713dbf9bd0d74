from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.finding import Finding
from ftdiff.reports.document import document
from ftdiff.reports.first_screen import FirstScreen, Told, chosen, first_screen, sentence_of
from ftdiff.reports.runs_screen import runs_screen
from tests.cases import situations
from tests.conftest import FIXTURES

NAMES = [f"model.layers.{i}.mlp.{p}_proj.weight" for i in range(3) for p in ("up", "down")]


def screen(diff: ftdiff.Diff) -> FirstScreen:
    return first_screen(diff, document(diff, words=True))


def matrices(seed: int = 0, side: int = 16) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=(side, side)).astype(np.float32) for name in NAMES}


def values(found: FirstScreen) -> dict[str, str]:
    return {one.meaning: one.value for one in found.numbers}


@pytest.fixture(scope="module")
def lora() -> FirstScreen:
    return screen(ftdiff.compare(FIXTURES / "base", FIXTURES / "lora"))


def test_a_verdict_says_what_it_is_how_far_it_moved_and_what_moves_as_far(
    lora: FirstScreen,
) -> None:
    assert lora.verdict == Told(
        "note",
        "lora, a LoRA of rank 4, moved the 196 matrices that it targets by 0.207 of their norm, "
        "as much as heavy fine-tuning on long reasoning, 7B.",
    )
    assert len(lora.findings) == 3
    told = values(lora)
    assert told["what rounding a merge to BF16 gives"] == "122 ×"
    assert told["‖ΔW‖/‖W‖, relative change of the 196 matrices that it targets"] == "0.207"
    assert (
        told["tensors moved"] == "196 of 338" and told["turn of the weights' direction"] == "11.7°"
    )


def test_what_is_broken_is_the_verdict() -> None:
    tuned = matrices()
    tuned[NAMES[1]][0, 0] = np.nan
    found = screen(ftdiff.compare(matrices(), tuned))
    assert found.verdict.severity == "alarm" and "NaN" in found.verdict.sentence
    assert found.verdict.sentence not in {sentence_of(one) for one in found.findings}


def test_a_model_that_is_its_base_is_said_to_be_so() -> None:
    found = screen(ftdiff.compare(matrices(), matrices()))
    assert found.verdict.sentence.endswith("is its base: none of 6 tensors differs.")
    assert values(found)["tensors moved"] == "0 of 6"


def test_an_adapter_that_adds_nothing_is_an_alarm(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    factors = {k: 0 * t if "lora_B" in k else t for k, t in situations.factors().items()}
    dead = situations.write_lora(tmp_path / "dead", factors)
    found = screen(ftdiff.compare(base, dead))
    assert found.verdict == Told(
        "alarm", "dead changes nothing: what it adds to the weights is zero."
    )


def test_a_change_within_rounding_is_not_called_one() -> None:
    base = matrices()
    tuned = {name: W.astype(ml_dtypes.bfloat16) for name, W in base.items()}
    found = screen(ftdiff.compare(base, tuned))
    assert found.verdict.severity == "caution"
    assert found.verdict.sentence.endswith("which cannot be told from rounding.")
    doubtful = [one for one in found.numbers if one.doubtful]
    assert [one.meaning for one in doubtful] == ["what rounding to BF16 gives"]


def test_without_a_base_no_relative_number_is_given(tmp_path: Path) -> None:
    lora = situations.write_lora(tmp_path / "my-lora")
    found = screen(ftdiff.compare(None, lora))
    assert found.verdict.sentence.startswith(
        "my-lora, a LoRA of rank 4, changes all 12 matrices by"
    )
    assert "its base would tell" in found.verdict.sentence
    assert not any("‖W‖" in meaning for meaning in values(found))


def test_the_gravest_come_first_and_another_rule_before_the_same() -> None:
    made = [
        Finding("depth-power", "note", "Nothing can be said."),
        Finding("contrast", "note", "One."),
        Finding("contrast", "note", "Two."),
        Finding("lift", "note", "Three."),
        Finding("scale-control", "caution", "Four."),
        Finding("scale-control", "caution", "Four."),
    ]
    assert [sentence_of(one) for one in chosen(made)] == ["Four.", "One.", "Three."]
    assert [sentence_of(one) for one in chosen(made[:3])] == [
        "One.",
        "Two.",
        "Nothing can be said.",
    ]


def test_a_similarity_and_a_run_say_first_what_was_measured() -> None:
    alike = ftdiff.similarity([FIXTURES / "lora", FIXTURES / "attention"], FIXTURES / "base")
    found = runs_screen(alike, "title")
    assert found.verdict.sentence.startswith("lora and attention are alike: cosine 0.0754, ")
    assert values(found)["fine-tunes compared, each with each"] == "2"
    run = ftdiff.trajectory(FIXTURES / "base", [FIXTURES / "run"])
    found = runs_screen(run, "title")
    assert found.verdict.sentence == (
        "In 160 steps the change grew to 0.199 of the base's norm, along a path 1.3 × as long."
    )
    assert values(found)["checkpoints of the run"] == "8"
