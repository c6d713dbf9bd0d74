"""Numbers of a few rows: ranks, slopes on a base's rounding, directions taken out of a base."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import ftdiff
from ftdiff.deltas.recipes import Replaced
from ftdiff.formats.quantised import grids
from ftdiff.formats.quantised.grids import Grid
from ftdiff.formats.quantised.rounding import ROUNDINGS, Rounding
from ftdiff.metrics.records.directions import directions
from ftdiff.metrics.records.slopes import slopes, total
from ftdiff.metrics.records.structure import structure
from ftdiff.tensors import Array, ArrayTensor
from tests.analyses.planted_structures import BF16, Planted, dense, lora

NAME = "model.layers.0.mlp.up_proj.weight"
SHAPE = (192, 96)


def _pair(seed: int = 0) -> tuple[Planted, Array]:
    planted = Planted(seed, layers=1, vocabulary=8)
    return planted, planted.base[NAME].astype(np.float64)


def _tensor(W: Array) -> ArrayTensor:
    return ArrayTensor(W.astype(BF16))


def test_a_rank_is_that_of_the_factors_and_none_is_told_of_what_rounding_blurs() -> None:
    planted, _ = _pair()
    diff = ftdiff.compare(planted.base, lora(planted, 1e-2, 5), ["tail_rank", "lead_share"])
    row = diff.frame.set_index("tensor").loc[NAME]
    assert row["tail_rank"] == 5 and 0.2 < row["lead_share"] < 0.5
    blurred = ftdiff.compare(planted.base, lora(planted, 1e-3, 5), ["structure"])
    assert blurred.frame["tail_rank"].isna().all()
    assert blurred.frame.set_index("tensor").loc[NAME, "step_share"] > 0.5


def test_most_rows_of_a_dense_change_show_no_rank() -> None:
    planted, _ = _pair(1)
    frame = ftdiff.compare(planted.base, dense(planted), ["structure"]).frame
    row = frame.set_index("tensor").loc[NAME]
    assert row.isna()["tail_rank"] and row["lead_share"] < 0.1  # 64 of 192 rows were read


def test_an_adapter_has_no_structure_to_be_found() -> None:
    diff = ftdiff.compare("fixtures/base", "fixtures/attention", ["structure"])
    assert diff.frame[["tail_rank", "lead_share", "base_slope", "step_share"]].isna().all(axis=None)


@pytest.mark.parametrize("rounding", ROUNDINGS, ids=lambda one: one.said)
def test_a_slope_is_1_on_the_rounding_that_is_in_a_change_and_0_without(rounding: Rounding) -> None:
    planted = Planted(2, d=128, layers=1, vocabulary=8)
    W = planted.base[NAME].astype(np.float64)
    top = float(np.abs(W).max()) if rounding.scale == "tensor" else None
    Q = np.concatenate([rounding.of(W[:128], top), rounding.of(W[128:], top)])
    own = planted.noise(W, 0.02)
    on, off = _tensor(Q + own), _tensor(W + 0.2 * planted.noise(W, 1.0))
    for tuned, expected in ((on, 1.0), (off, 0.0)):
        found = slopes(Replaced(tuned), _tensor(W), W.shape, 0, relative=1.0)
        (mine,) = (one for one in found if one.rounding == rounding)
        assert abs(mine.value - expected) < 5 * mine.error + 0.02


def test_slopes_of_several_matrices_have_a_smaller_error() -> None:
    found = []
    for seed in range(4):
        _, W = _pair(seed)
        rng = np.random.default_rng(seed)
        tuned = _tensor(W + 0.1 * np.abs(W).mean() * rng.normal(size=W.shape))
        found += [one for one in slopes(Replaced(tuned), _tensor(W), SHAPE, 0, 1.0)
                  if one.rounding == ROUNDINGS[0]]  # fmt: skip
    whole = total(found)
    assert whole is not None and whole.matrices == 4
    assert whole.error < 0.7 * min(one.error for one in found)
    assert abs(whole.value) < 5 * whole.error
    assert total([]) is None


@pytest.mark.parametrize(("scheme", "block"), [("NF4", 64), ("FP4", 64), ("INT8", 0)])
def test_a_rounded_base_lies_on_the_grid_of_its_scheme(scheme: str, block: int) -> None:
    _, W = _pair(3)
    Q = Rounding(scheme, str(block) if block else "row").of(W)
    assert grids.fit(_tensor(W), _tensor(Q), Grid(scheme, block)).holds


@pytest.mark.parametrize(("side", "strength"), [*product(("writes", "reads"), (1.0, 0.4))])
def test_a_direction_that_is_taken_out_is_found_with_its_strength(
    side: str, strength: float
) -> None:
    planted, W = _pair(4)
    r = planted.rng.normal(size=len(W) if side == "writes" else W.shape[1])
    r /= np.linalg.norm(r)
    out = np.outer(r, r @ W) if side == "writes" else np.outer(W @ r, r)
    found = {
        one.side: one
        for one in directions(Replaced(_tensor(W - strength * out)), _tensor(W), SHAPE)
    }
    assert found[side].strength == pytest.approx(strength, abs=0.01)
    assert found[side].fit > 0.99 and abs(found[side].vector @ r) > 0.99
    other = found["reads" if side == "writes" else "writes"]
    assert other.fit < 0.7 or other.strength < 0.5 * strength


def test_a_change_of_rank_one_of_its_own_is_taken_out_of_nothing() -> None:
    worst = 0.0
    for seed in range(20):
        planted, W = _pair(seed)
        tuned = _tensor(W + planted.factors(W, 0.05, 1))
        found = directions(Replaced(tuned), _tensor(W), SHAPE)
        worst = max(worst, *(one.fit for one in found))
    assert worst < 0.6


def test_a_rescaled_matrix_with_one_strong_direction_is_told_from_an_edit() -> None:
    planted, W = _pair(5)
    W = W + planted.factors(W, 4.0, 1)
    (writes,) = directions(Replaced(_tensor(0.9 * W)), _tensor(W), SHAPE, ("writes",))
    assert writes.fit > 0.9 and abs(writes.rescale) > 0.3 * abs(writes.strength)


def test_what_is_not_finite_or_of_another_shape_has_no_sample() -> None:
    _, W = _pair()
    broken = W.copy()
    broken[0, 0] = np.inf
    assert structure(Replaced(_tensor(broken)), _tensor(W), SHAPE).rows is None
    assert structure(Replaced(_tensor(W[:100])), _tensor(W), SHAPE).rows is None
    still = structure(Replaced(_tensor(W)), _tensor(W), SHAPE)
    assert not still.moved and still.tail is None and still.lead == (0.0, 0.0)
