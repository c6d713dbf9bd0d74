"""Two dtypes: compared in the wider one, and what a wide file holds of a narrow one is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.conftest import nudge, write_model

BASE = situations.state()
TUNED = nudge(BASE)


def rounded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: W.bfloat16().float() for name, W in state.items()}


def said(base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], at: Path) -> set[str]:
    diff = ftdiff.compare(write_model(at / "base", base), write_model(at / "tuned", tuned))
    assert diff.about["coverage"] == 1.0
    again = ftdiff.Diff.load(diff.save(at / "diff.json"))
    found = [one for one in ftdiff.audit(again).findings if one.rule == "saved-wider"]
    assert len(found) == sum("saved from bfloat16" in note for note in diff.about["notes"])
    return {str(one.evidence["side"]) for one in found}


@pytest.mark.parametrize(
    ("base", "tuned", "sides"),
    [
        (BASE, TUNED, set()),
        (BASE, rounded(TUNED), {"tuned"}),
        (rounded(BASE), TUNED, {"base"}),
        (rounded(BASE), rounded(TUNED), {"base", "tuned"}),
        ({name: W.bfloat16() for name, W in BASE.items()}, rounded(TUNED), {"tuned"}),
        ({name: W.bfloat16() for name, W in BASE.items()}, TUNED, set()),
        (BASE, {name: torch.ones_like(W) for name, W in BASE.items()}, set()),
    ],
    ids=["neither", "tuned", "base", "both", "narrow base", "narrow and wide", "ones"],
)
def test_a_wide_file_of_narrow_values_is_named(
    base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], sides: set[str], tmp_path: Path
) -> None:
    assert said(base, tuned, tmp_path) == sides


def test_one_matrix_with_more_bits_says_that_it_was_not(tmp_path: Path) -> None:
    tuned = rounded(TUNED) | {"model.layers.0.self_attn.q_proj.weight": BASE[
        "model.layers.0.self_attn.q_proj.weight"] + 1e-3}  # fmt: skip
    assert said(BASE, tuned, tmp_path) == set()
