"""What is left beside a merge is a diff of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ftdiff
from ftdiff.errors import BadCall
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import linear, tuned
from tests.conftest import write_model

W = planted.base()
WITH_AND_WITHOUT = pytest.mark.parametrize("base", [W, None], ids=["base", "no base"])
LAST = [*W][-1]


@WITH_AND_WITHOUT
def test_what_was_trained_on_top_is_measured_and_nothing_else(base: planted.State | None) -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    later = M[LAST].clone()
    later[:8] = (later[:8].float() * 1.05).bfloat16()
    found = ftdiff.merge_of({**M, LAST: later}, [A, B], base)
    left = found.residual()
    assert isinstance(left, ftdiff.Diff) and len(left.frame) == len(W)
    rows = left.frame.set_index("tensor")
    for name in W:
        assert rows.loc[name, "status"] == ("changed" if name == LAST else "identical")
    true = (later.float() - M[LAST].float()).norm() / M[LAST].float().norm()
    assert rows.loc[LAST, "relative_norm"] == pytest.approx(float(true), rel=0.02)
    assert "the merge of" in str(left.about["base"])


@pytest.mark.parametrize("merge", ["low", "task", "slerp"])
def test_a_merge_by_any_arithmetic_leaves_nothing(merge: str) -> None:
    A, B = tuned(W, 2, 0.1 if merge == "slerp" else 5e-3)
    M = {
        "low": lambda: planted.linear_low([A, B], [0.6, 0.4]),
        "task": lambda: planted.task(W, [A, B], [0.7, 0.5]),
        "slerp": lambda: planted.slerp(A, B, 0.4),
    }[merge]()
    left = ftdiff.merge_of(M, [A, B], W).residual()
    assert {*left.frame["status"]} == {"identical"}


def test_a_loaded_result_opens_its_models_again(tmp_path: Path) -> None:
    A, B = tuned(W, 2, 5e-3)
    M = planted.trained(linear([A, B], [0.6, 0.4]), 1e-4)
    paths = [write_model(tmp_path / name, one) for name, one in zip("mab", (M, A, B), strict=True)]
    found = ftdiff.merge_of(paths[0], paths[1:])
    again = ftdiff.MergeOf.load(found.save(tmp_path / "merge.json"))
    assert np.array_equal(
        again.residual().frame["relative_norm"], found.residual().frame["relative_norm"]
    )
    lost = ftdiff.merge_of(M, [A, B], W)
    loaded = ftdiff.MergeOf.load(lost.save(tmp_path / "lost.json"))
    with pytest.raises(BadCall, match="in memory: it is not kept"):
        loaded.residual()


def test_what_no_parent_moves_is_held_against_the_base() -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    for one in (A, B):
        one[LAST] = W[LAST]
    M[LAST] = planted.trained({LAST: W[LAST].float()}, 1e-3)[LAST]
    found = ftdiff.merge_of(M, [A, B], W)
    assert found.frame["status"].iloc[-1] == "apart"
    rows = found.residual().frame.set_index("tensor")
    assert rows.loc[LAST, "status"] == "changed" and (rows["status"] == "changed").sum() == 1
