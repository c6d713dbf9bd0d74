"""Merges as they are met: other dtypes, weights that do not add up to 1, ties, parts that lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ftdiff
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import State, linear, tuned
from tests.conftest import write_model

W = planted.base()
LAST = [*W][-1]


def cast(state: State, dtype: torch.dtype) -> State:
    return {name: one.to(dtype) for name, one in state.items()}


def wide(count: int, rel: float = 5e-3) -> list[State]:
    """Return fine-tunes in float32, on no grid of few bits."""
    draw = torch.Generator().manual_seed(9)
    return [
        {
            name: one.float() + torch.randn(one.shape, generator=draw) * rel * 0.05
            for name, one in W.items()
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("weights", [(0.5, 0.4), (0.7, 0.5), (1.0, -0.3)])
def test_without_a_base_weights_need_not_add_up_to_1(weights: tuple[float, float]) -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [*weights])
    found = ftdiff.merge_of(M, [A, B])
    assert found.verdict == "exactly", found.sentences
    assert np.allclose([*found.about["coefficients"].values()], weights, atol=1e-3)
    trained = ftdiff.merge_of(planted.trained(M, 1e-4), [A, B])
    assert trained.verdict == "changed", trained.sentences
    assert np.allclose([*trained.about["coefficients"].values()], weights, atol=5e-3)


def test_a_sum_of_1_stays_one_without_a_base() -> None:
    A, B = tuned(W, 2, 5e-3)
    found = ftdiff.merge_of(planted.trained(linear([A, B], [0.6, 0.4]), 1e-4), [A, B])
    assert sum(found.about["coefficients"].values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("base", [True, False])
def test_all_of_another_dtype(dtype: torch.dtype, base: bool) -> None:
    A, B = (cast(one, dtype) for one in wide(2))
    M = linear([A, B], [0.6, 0.4], dtype=dtype)
    found = ftdiff.merge_of(M, [A, B], cast(W, dtype) if base else None)
    assert found.verdict == "exactly", found.sentences
    assert np.allclose([*found.about["coefficients"].values()], [0.6, 0.4], atol=1e-3)
    later = {name: one + 1e-5 * torch.randn(one.shape).to(dtype) for name, one in M.items()}
    assert ftdiff.merge_of(later, [A, B]).verdict == "changed"


def test_parents_in_float32_of_a_merge_in_bfloat16() -> None:
    A, B = wide(2)
    found = ftdiff.merge_of(linear([A, B], [0.6, 0.4]), [A, B])
    assert found.verdict == "exactly" and {*found.frame["way"]} == {"linear"}
    narrow = [cast(one, torch.bfloat16) for one in (A, B)]
    found = ftdiff.merge_of(planted.linear_low(narrow, [0.6, 0.4]), [A, B])
    assert found.verdict == "exactly" and {*found.frame["way"]} == {"low products"}


def test_a_tensor_that_one_parent_lacks_is_named() -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    for base in (W, None):
        found = ftdiff.merge_of(M, [A, {k: v for k, v in B.items() if k != LAST}], base)
        assert found.verdict == "changed"
        assert [*found.frame["tensor"][found.frame["status"] == "unmatched"]] == [LAST]


@pytest.mark.parametrize("side", ["merged", "parent"])
def test_an_entry_that_is_no_number_is_left_out_and_said(side: str) -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    broken = M if side == "merged" else A
    broken[LAST] = broken[LAST].clone()
    broken[LAST][5, 5] = float("inf")
    found = ftdiff.merge_of(M, [A, B])
    assert found.verdict == "changed" and found.frame["nonfinite"].sum() == 1
    row = found.frame.iloc[-1]
    assert row["entries"] == 96 * 96 - 1 and row["replay"] == 1.0


def test_shards_and_torch_files_hold_the_same(tmp_path: Path) -> None:
    A, B = tuned(W, 2, 5e-3)
    M = linear([A, B], [0.6, 0.4])
    paths = [write_model(tmp_path / "m", M, shards=2), write_model(tmp_path / "a", A)]
    (tmp_path / "b").mkdir()
    torch.save(B, tmp_path / "b" / "pytorch_model.bin")
    found = ftdiff.merge_of(paths[0], [paths[1], tmp_path / "b"])
    assert found.verdict == "exactly" and (found.frame["replay"] == 1).all()


def test_tied_embeddings_are_judged_once_and_a_head_of_its_own_too() -> None:
    embed, head = "model.embed_tokens.weight", "lm_head.weight"
    draw = torch.Generator().manual_seed(4)
    table = (torch.randn(64, 96, generator=draw) * 0.05).bfloat16()
    models = []
    for one in tuned(W, 2, 5e-3):
        own = (table.float() + torch.randn(table.shape, generator=draw) * 2.5e-4).bfloat16()
        models.append({**one, embed: own})
    M = linear(models, [0.6, 0.4])
    assert ftdiff.merge_of(M, models).verdict == "exactly"
    apart = {**M, head: M[embed].clone()}
    found = ftdiff.merge_of(apart, [{**one, head: one[embed].clone()} for one in models])
    assert found.verdict == "exactly" and len(found.frame) == len(W) + 2
