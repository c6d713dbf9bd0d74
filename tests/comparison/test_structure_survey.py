"""Where a comparison looks for structure: a few matrices first, the same on any executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ftdiff
from ftdiff.comparison.saved_structure import fault
from ftdiff.comparison.structure import looks
from ftdiff.comparison.structure.matrices import moved_matrices, spread
from ftdiff.comparison.structure.survey import surveyed
from tests.analyses.planted_structures import Planted, dense, lora

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_no_number_depends_on_the_executor() -> None:
    planted = Planted(0, layers=2)
    tuned = lora(planted)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:
        found = [ftdiff.compare(planted.base, tuned, executor=e) for e in (one, three, None)]
    structures = [diff.about["structure"] for diff in found]
    assert structures[0] == structures[1] == structures[2]


def test_dense_changes_are_looked_at_in_few_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    real = looks.run

    def counting(matrices: Any, work: Callable[..., Any], at: Any) -> Any:
        counts.append(len(matrices))
        return real(matrices, work, at)

    monkeypatch.setattr(looks, "run", counting)
    planted = Planted(1, layers=8)
    ftdiff.compare(planted.base, dense(planted))
    assert counts and max(counts) <= 24
    counts.clear()
    ftdiff.compare(planted.base, lora(planted))
    assert max(counts) == 56


def test_several_fine_tunes_have_the_same_structure_as_each() -> None:
    from ftdiff.comparison.batch import compare_each

    planted = Planted(2, layers=2)
    tuned = [lora(planted), dense(planted)]
    for whole, alone in zip(compare_each(planted.base, tuned), tuned, strict=True):
        assert isinstance(whole, ftdiff.Diff)
        assert whole.about["structure"] == ftdiff.compare(planted.base, alone).about["structure"]


def test_a_spread_meets_all_components_and_depths() -> None:
    planted = Planted(3, layers=8)
    diff, plan = _compared(planted.base, lora(planted))
    found = spread(moved_matrices(diff, plan), 24)
    assert len(found) == 24
    assert len({one.address.component for one in found}) == 7
    assert {one.address.layer for one in found} == {*range(8)}


def test_what_is_far_away_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(4, layers=2)
    diff, plan = _compared(planted.base, lora(planted))
    assert moved_matrices(diff, plan)
    monkeypatch.setattr("ftdiff.comparison.structure.matrices.is_far", lambda thing: True)
    assert moved_matrices(diff, plan) == []
    assert surveyed(diff, plan, looks.Workplace()) is diff


def test_a_tensor_with_nan_is_left_out() -> None:
    planted = Planted(5, layers=2)
    tuned = lora(planted)
    name = "model.layers.0.mlp.up_proj.weight"
    tuned[name] = tuned[name].copy()
    tuned[name][3, 4] = np.nan
    found = ftdiff.compare(planted.base, tuned).about["structure"]
    assert found["matrices"] == 13 and found["low_rank"]["low"] == 13


def _compared(base: Any, tuned: Any) -> tuple[ftdiff.Diff, Any]:
    from ftdiff.adapters import open_base, open_tuned
    from ftdiff.comparison.plan import pair

    opened = open_base(base)
    plan = pair(opened, open_tuned(tuned, opened))
    return ftdiff.compare(base, tuned), plan


@pytest.mark.parametrize(
    "broken",
    [
        {"matrices": 1},
        {"matrices": 1, "looked": 1, "low_rank": {"rank": 4}},
        {"matrices": 1, "looked": 1, "zeros": {"share": "x", "matrices": 1, "two_of_four": 0.0}},
        {"matrices": 1, "looked": 1, "lines": [{"tensor": "x"}]},
        {"matrices": 1, "looked": 1, "steps": {"changed": float("nan")}},
        {"matrices": 2**70, "looked": 1},
    ],
)
def test_a_saved_structure_of_another_form_is_refused(broken: dict[str, Any]) -> None:
    assert fault(broken)


@pytest.mark.parametrize("kind", [lora, dense])
def test_a_saved_structure_is_accepted(kind: Callable[..., Any]) -> None:
    planted = Planted(6, layers=2)
    assert fault(ftdiff.compare(planted.base, kind(planted)).about["structure"]) == ""
