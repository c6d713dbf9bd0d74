"""Σ|ΔW|/(Σ|W| + Σ|W₁|): by hand, against torch, and over groups."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.deltas.recipes import Added, Product, Replaced, StoredDelta
from ftdiff.metrics import METRICS, resolve
from ftdiff.metrics.records.absolutes import absolutes
from ftdiff.tensors import ArrayTensor
from tests.conftest import llama, nudge

SIGMA = "relative_norm_sigma"
STORED = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def sigma(W: torch.Tensor, W1: torch.Tensor) -> float:
    """The formula in torch's float64."""
    W, W1 = W.double(), W1.double()
    return float((W1 - W).abs().sum() / (W.abs().sum() + W1.abs().sum()))


def test_two_by_two_by_hand() -> None:
    W, W1 = np.array([[1.0, -2.0], [3.0, 0.0]]), np.array([[2.0, 2.0], [3.0, -1.0]])
    diff = ftdiff.compare({"w": W}, {"w": W1}, [SIGMA])
    assert diff.frame.loc[0, SIGMA] == (1 + 4 + 0 + 1) / ((1 + 2 + 3) + (2 + 2 + 3 + 1))


def test_it_is_measured_only_when_it_is_asked_for() -> None:
    assert METRICS[SIGMA] not in resolve(()) and METRICS[SIGMA] not in resolve(["magnitude"])
    assert resolve(["sigma"]) == [METRICS[SIGMA]]


@given(st.sampled_from(STORED), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_checkpoints_have_torchs_value(
    dtype: torch.dtype, rows: int, columns: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    W = torch.randn(rows, columns, generator=draw).to(dtype)
    W1 = (W + torch.randn(rows, columns, generator=draw) / 8).to(dtype)
    assume(not torch.equal(W, W1))  # of what did not move nothing more than sums is measured
    found = ftdiff.compare({"w": W}, {"w": W1}, [SIGMA]).frame[SIGMA][0]
    assert found == pytest.approx(sigma(W, W1), rel=1e-12)


def test_an_adapter_has_the_value_of_what_it_adds_without_rounding() -> None:
    rng = np.random.default_rng(0)
    W, B, A = (rng.normal(size=s).astype(np.float32) for s in ((30, 20), (30, 2), (2, 20)))
    low = Added((30, 20), Product(ArrayTensor(A), ArrayTensor(B), 0.25))
    found = absolutes(low, ArrayTensor(W))
    assert found is not None
    dW = torch.from_numpy(low.entries(None)(0, 600)).reshape(30, 20)
    base = torch.from_numpy(W).double()
    assert found.change / (found.base + found.tuned) == pytest.approx(sigma(base, base + dW))


def test_how_entries_are_cut_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    W, dW = (ArrayTensor(rng.standard_normal((37, 11)).astype(np.float32)) for _ in range(2))
    found = absolutes(StoredDelta(dW), W)
    monkeypatch.setattr("ftdiff.metrics.records.entries._STRIP", 25)
    cut = absolutes(StoredDelta(dW), W)
    assert found is not None and cut is not None
    assert (cut.base, cut.tuned, cut.change) == pytest.approx(
        (found.base, found.tuned, found.change), rel=1e-14
    )


def test_what_is_not_finite_is_in_no_sum_and_nothing_is_said_without_a_base() -> None:
    W = ArrayTensor(np.array([1.0, np.nan, np.inf, 2.0]))
    dW = ArrayTensor(np.array([np.nan, 1.0, 1.0, 1.0]))
    found = absolutes(StoredDelta(dW), W)
    assert found is not None
    assert (found.base, found.tuned, found.change) == (2.0, 3.0, 1.0)
    assert absolutes(Replaced(dW), None) is None
    assert math.isnan(METRICS[SIGMA].compute(None))


@pytest.mark.parametrize("dtype", STORED)
def test_a_group_has_the_value_of_its_tensors_in_one(dtype: torch.dtype) -> None:
    base = llama(dtype=dtype)
    tuned = nudge(base, by=0.5)
    diff = ftdiff.compare(base, tuned, [SIGMA])
    near = 1e-7 if dtype == torch.float32 else 1e-12  # float32's sums are taken in float32 lanes

    def joined(state: dict[str, torch.Tensor], part: str) -> torch.Tensor:
        return torch.cat([t.double().flatten() for name, t in state.items() if part in name])

    layers = diff.by("layer", metrics=[SIGMA], vectors=True).set_index("layer")[SIGMA]
    for layer in range(3):
        part = f"layers.{layer}."
        assert layers.loc[layer] == pytest.approx(
            sigma(joined(base, part), joined(tuned, part)), rel=near
        )
    everything = diff.by(metrics=[SIGMA], vectors=True).loc[0, SIGMA]
    assert everything == pytest.approx(sigma(joined(base, ""), joined(tuned, "")), rel=near)
    values = diff.frame[SIGMA].astype(float)
    assert everything != pytest.approx(values.mean(), rel=1e-3)  # no mean of ratios


def test_a_tensor_that_did_not_move_weighs_its_group_and_a_broken_one_is_left_out() -> None:
    rng = np.random.default_rng(0)
    names = [f"model.layers.0.mlp.{role}_proj.weight" for role in ("up", "gate", "down")]
    base = {name: rng.normal(size=(8, 6)) for name in names}
    tuned = {name: W.copy() for name, W in base.items()}
    tuned[names[0]] += rng.normal(size=(8, 6))
    tuned[names[2]][2, 3] = np.nan
    diff = ftdiff.compare(base, tuned, [SIGMA])
    assert diff.frame.set_index("tensor")[SIGMA].isna().tolist() == [False, True, True]
    for over, counted in (("all", names[:2]), ("moved", names[:1])):
        both = [torch.from_numpy(np.concatenate([s[n] for n in counted])) for s in (base, tuned)]
        group = diff.by("layer", metrics=[SIGMA], over=over)[SIGMA][0]
        assert group == pytest.approx(sigma(*both), rel=1e-12)


def test_noise_gives_what_is_said() -> None:
    rng = np.random.default_rng(2)
    for size in (0.01, 1.0):
        W, dW = rng.standard_normal((400, 300)), size * rng.standard_normal((400, 300))
        diff = ftdiff.compare({"w": W}, {"w": W + dW}, [SIGMA])
        assert diff.frame.loc[0, SIGMA] == pytest.approx(diff.expected(SIGMA)[0], rel=0.01)


def test_a_trained_adapter_has_a_value_for_each_layer(fixtures: Path) -> None:
    diff = ftdiff.compare(fixtures / "base", fixtures / "lora", [SIGMA, "relative_norm_l1"])
    table = diff.table(SIGMA)
    assert not table["attn.q"].isna().any()
    half = diff.table("relative_norm_l1")["attn.q"] / 2
    assert table["attn.q"].to_numpy() == pytest.approx(half.to_numpy(), rel=0.02)
