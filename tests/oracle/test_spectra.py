"""Singular values against LAPACK's through SciPy and torch, in every form ΔW comes in."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.comparison import per_tensor as tensorwise
from ftdiff.comparison.per_tensor import measure
from ftdiff.comparison.plan import Change
from ftdiff.deltas.forms import Delta, Hadamard, Kronecker, LowRank
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.deltas.recipes import Added, Recipe, Replaced
from ftdiff.deltas.recipes.rebuilt import Rebuilt
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS, metric, resolve
from ftdiff.metrics.linalg import lanczos
from ftdiff.metrics.linalg import svd as whole
from ftdiff.metrics.linalg.lanczos import leading
from ftdiff.metrics.linalg.row_matrices import Held
from ftdiff.metrics.linalg.svd import singular_values
from ftdiff.metrics.records.spectra import Spectrum
from ftdiff.naming import locate
from ftdiff.tensors import Array, ArrayTensor, LazyTensor

SPECTRAL = resolve(["spectral"])
SHAPES = [(30, 20), (20, 30), (25, 25), (1, 17), (17, 1), (1, 1), (560, 520), (520, 560)]


class Given:
    """A change that is at hand."""

    def __init__(self, delta: Delta) -> None:
        self.delta = delta

    def make(self) -> Delta:
        return self.delta


class Scaled:
    """Rows of the base, each times its own factor: what DoRA and (IA)³ do."""

    def __init__(self, factors: Array) -> None:
        self.factors = factors

    def make(self, base: LazyTensor) -> Scaled:
        return self

    def rows(self, W: Array, start: int) -> Array:
        return W * self.factors[start : start + len(W), None]


def _of(recipe: Recipe, base: LazyTensor | None, name: str = "w") -> dict[str, float]:
    return measured(recipe, base, ["spectral"], name)


def measured(
    recipe: Recipe, base: LazyTensor | None, names: Sequence[str], name: str = "w"
) -> dict[str, float]:
    """Return metrics of one change, as a worker measures them."""
    change = Change(locate([name])[name], base, recipe)
    functions = {m.name: (m.needs, m.compute) for m in resolve(names)}
    return dict(measure(change, functions).values)


def _expected(dW: Array, W: Array) -> dict[str, float]:
    """Compute each metric from its definition, with torch's and SciPy's decompositions."""
    s = scipy.linalg.svdvals(dW)
    exact = torch.linalg.svdvals(torch.from_numpy(dW)).numpy()
    assert s == pytest.approx(exact, rel=1e-9, abs=1e-12 * s[0])
    s = np.where(s > 1e-9 * s[0], s, 0.0)
    p = s[s > 0] / s.sum()
    energy = np.cumsum(s**2) / (s**2).sum()
    found = {
        "spectral_norm": s[0],
        "relative_spectral": s[0] / np.linalg.norm(W, 2),
        "nuclear_norm": float(np.linalg.norm(dW, "nuc")),
        "stable_rank": np.linalg.norm(dW) ** 2 / s[0] ** 2,
        "effective_rank": math.exp(scipy.stats.entropy(p)),
        "participation_ratio": (s**2).sum() ** 2 / (s**4).sum(),
        "numerical_rank": np.linalg.matrix_rank(dW, tol=1e-6 * s[0]),
        "numerical_rank_1e5": np.linalg.matrix_rank(dW, tol=1e-5 * s[0]),
        "numerical_rank_1e4": np.linalg.matrix_rank(dW, tol=1e-4 * s[0]),
    }
    for percent in (90, 95, 99):
        found[f"rank_{percent}"] = int((energy < percent / 100 - 1e-12).sum()) + 1
    return {name: float(value) for name, value in found.items()}


def _agree(found: dict[str, float], dW: Array, W: Array, rel: float = 1e-6) -> None:
    expected = _expected(dW, W)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_spectra_are_lapacks(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    W, W1 = rng.normal(size=(2, *shape))
    _agree(_of(Replaced(ArrayTensor(W1)), ArrayTensor(W)), W1 - W, W, 1e-5)


@pytest.mark.parametrize("shape", [(60, 50), (560, 520), (520, 560)])
def test_rank_deficient_changes_have_the_rank_that_they_have(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=shape)
    dW = rng.normal(size=(shape[0], 5)) @ rng.normal(size=(5, shape[1]))
    found = _of(Replaced(ArrayTensor(W + dW)), ArrayTensor(W))
    _agree(found, dW, W, 1e-5)
    assert found["numerical_rank"] == 5
    assert found["effective_rank"] <= 5


def random(seed: int, *shape: int) -> Array:
    """Return normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def _factor(seed: int, *shape: int) -> Array:
    return random(seed, *shape).astype(np.float32)


_FACTORED: list[Delta] = [
    LowRank(_factor(1, 24, 4), _factor(2, 4, 36), -0.5),
    LowRank(_factor(1, 5, 9), _factor(2, 9, 7)),
    LowRank(_factor(1, 1, 1), _factor(2, 1, 40)),
    Kronecker(
        LowRank(_factor(1, 3, 2), _factor(2, 2, 5)), LowRank(_factor(3, 8, 2), _factor(4, 2, 6)), 2
    ),
    Hadamard(
        LowRank(_factor(1, 30, 2), _factor(2, 2, 40)), LowRank(_factor(3, 30, 3), _factor(4, 3, 40))
    ),
    Hadamard(
        LowRank(_factor(1, 6, 3), _factor(2, 3, 7)), LowRank(_factor(3, 6, 3), _factor(4, 3, 7))
    ),
]


@pytest.mark.parametrize("delta", _FACTORED, ids=lambda d: f"{type(d).__name__}-{d.shape}")
def test_spectra_of_factors_are_those_of_what_they_multiply_out_to(delta: Delta) -> None:
    W = random(5, *delta.shape)
    found = _of(Added(delta.shape, Given(delta)), ArrayTensor(W))
    _agree(found, delta.dense(), W, 1e-5)
    if isinstance(delta, LowRank):
        assert found["utilisation"] == pytest.approx(found["effective_rank"] / delta.rank)
    else:
        assert isinstance(delta, Hadamard) or math.isnan(found["utilisation"])


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (1, 9)])
def test_rescaled_rows_have_the_spectrum_of_their_product(shape: tuple[int, int]) -> None:
    W = random(0, *shape).astype(np.float32)
    factors = random(1, shape[0]).astype(np.float32)
    recipe = Rebuilt(shape, Scaled(factors), "rescaled", "rows are scaled")
    _agree(_of(recipe, ArrayTensor(W)), (W * factors[:, None]).astype(np.float64), W, 1e-5)


def test_experts_have_the_mean_of_their_matrices() -> None:
    W, W1 = random(0, 4, 12, 9), random(1, 4, 12, 9)
    name = "model.layers.0.mlp.experts.down_proj"
    found = _of(Replaced(ArrayTensor(W1)), ArrayTensor(W), name)
    each = [_expected(W1[i] - W[i], W[i]) for i in range(4)]
    for key in each[0]:
        assert found[key] == pytest.approx(np.mean([one[key] for one in each]), rel=1e-5)
    parts = [LowRank(random(i, 12, 2), random(i + 9, 2, 9)) for i in range(4)]
    factored = _of(Added((4, 12, 9), Given(Stacked(parts)), view=(48, 9)), ArrayTensor(W), name)
    each = [_expected(part.dense(), W[i]) for i, part in enumerate(parts)]
    for key in each[0]:
        assert factored[key] == pytest.approx(np.mean([one[key] for one in each]), rel=1e-5)


def test_a_convolution_is_output_channels_against_the_rest() -> None:
    W, W1 = random(0, 8, 3, 2, 2), random(1, 8, 3, 2, 2)
    found = _of(Replaced(ArrayTensor(W1)), ArrayTensor(W))
    _agree(found, (W1 - W).reshape(8, 12), W.reshape(8, 12), 1e-5)


def test_a_vector_has_no_spectrum_and_a_change_of_nothing_no_rank() -> None:
    W = random(0, 40)
    assert _of(Replaced(ArrayTensor(2 * W)), ArrayTensor(W)) == {}
    still = _of(Replaced(ArrayTensor(W.reshape(5, 8))), ArrayTensor(W.reshape(5, 8)))
    assert still["spectral_norm"] == still["nuclear_norm"] == still["numerical_rank"] == 0
    assert all(math.isnan(still[name]) for name in ("stable_rank", "effective_rank", "rank_90"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("names", [["spectral"], ["stable_rank", "spectral_norm"]])
def test_what_is_not_finite_has_no_spectrum(bad: float, names: list[str]) -> None:
    W, W1 = random(0, 9, 9), random(1, 9, 9)
    W1[3, 4] = bad
    frame = ftdiff.compare({"w": W}, {"w": W1}, names).frame
    assert all(frame[m.name].isna().all() for m in resolve(names))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_lanczos_is_within_the_bound_that_it_states(shape: tuple[int, int], scale: float) -> None:
    M = scale * random(0, *shape)
    exact = scipy.linalg.svdvals(M)
    found = leading(Held(M), 3)
    k = min(3, *shape)
    assert found.bound.max() <= 1e-4
    assert (found.values <= exact[:k] * (1 + 1e-12)).all()
    assert (exact[:k] <= found.values / (1 - found.bound) * (1 + 1e-12)).all()
    assert found.sumsq == pytest.approx(np.linalg.norm(M) ** 2)
    rebuilt = found.left * found.values
    assert M @ found.right == pytest.approx(rebuilt, rel=1e-6, abs=1e-9 * exact[0])


def test_lanczos_that_is_cut_short_states_a_bound_that_holds() -> None:
    M = random(0, 300, 200)
    exact = scipy.linalg.svdvals(M)[0]
    for steps in (2, 4, 8, 16):
        found = leading(Held(M), steps=steps)
        nearest = np.abs(scipy.linalg.svdvals(M) - found.values[0]).min()
        assert nearest / exact <= found.bound[0] * 1.001
        assert found.values[0] <= exact


def test_a_matrix_too_large_to_hold_is_read_again_to_the_same_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = Held(random(0, 70, 50))
    held = leading(matrix, 2)
    monkeypatch.setattr(lanczos, "HELD", 10)
    assert leading(matrix, 2).values == pytest.approx(held.values, rel=1e-12)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
    st.integers(1, 5000),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_gram_of_any_runs_is_lapacks(
    rows: int, columns: int, rank: int, block: int, seed: int
) -> None:
    M = random(seed, rows, rank) @ random(seed + 1, rank, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "SMALL_SIDE", 0)
        patch.setattr(whole, "_BLOCK", block)
        values, bound, method = singular_values(Held(M))
    exact = scipy.linalg.svdvals(M)
    assert method == "gram"
    assert np.abs(values - exact).max() <= max(bound, 1e-12) * max(exact[0], 1e-300)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_norms_and_ranks_stand_in_order(rows: int, columns: int, seed: int) -> None:
    W, W1 = random(seed, rows, columns), random(seed + 100, rows, columns)
    one = _of(Replaced(ArrayTensor(W1)), ArrayTensor(W))
    total = math.sqrt(((W1 - W) ** 2).sum())
    assert one["spectral_norm"] <= total * (1 + 1e-9)
    assert total <= one["nuclear_norm"] * (1 + 1e-9)
    assert 1 - 1e-9 <= one["stable_rank"] <= one["numerical_rank"] * (1 + 1e-9)
    assert 1 - 1e-9 <= one["participation_ratio"] <= one["effective_rank"] * (1 + 1e-9)
    assert one["effective_rank"] <= one["numerical_rank"] * (1 + 1e-9)
    assert one["rank_90"] <= one["rank_95"] <= one["rank_99"] <= min(rows, columns)
    turned = scipy.stats.ortho_group.rvs(rows, random_state=seed)
    again = _of(Replaced(ArrayTensor(turned @ W1)), ArrayTensor(turned @ W))
    assert again == pytest.approx(one, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("shape", [(400, 400), (300, 700), (700, 300)])
@pytest.mark.parametrize("name", [m.name for m in SPECTRAL])
def test_noise_gives_what_is_expected_of_it(shape: tuple[int, int], name: str) -> None:
    if name == "utilisation":
        A, B = random(2, 4, shape[1]).astype(np.float32), random(3, shape[0], 4)
        adapter = Added(shape, Given(LowRank(B.astype(np.float32), A)))
        assert _of(adapter, ArrayTensor(random(0, *shape)))[name] == pytest.approx(1.0, rel=0.03)
        return
    diff = _noisy(shape)
    found, expected = float(diff.frame[name].iloc[0]), float(diff.expected(name).iloc[0])
    assert found == pytest.approx(expected, rel=0.03, abs=0.0)


@cache
def _noisy(shape: tuple[int, int]) -> ftdiff.Diff:
    W, noise = random(0, *shape), 0.1 * random(1, *shape)
    return ftdiff.compare({"w": W}, {"w": W + noise}, ["spectral"])


def test_directions_that_stand_out_of_noise_are_counted() -> None:
    W, noise = random(0, 200, 300), random(1, 200, 300)
    spikes = sum(60 * np.outer(u, v) for u, v in zip(*_orthogonal(3), strict=True))
    row = ftdiff.compare({"w": W}, {"w": W + noise + spikes}, ["spectral"]).frame.iloc[0]
    assert row["mp_excess"] == 3
    s = scipy.linalg.svdvals(noise + spikes)
    assert row["mp_excess_energy"] == pytest.approx((s[:3] ** 2).sum() / (s**2).sum(), rel=1e-6)


def _orthogonal(count: int) -> tuple[Array, Array]:
    left, right = (np.linalg.qr(random(7, side, count))[0].T for side in (200, 300))
    return left, right


def test_a_lora_and_its_merge_have_one_spectrum(fixtures: Path) -> None:
    names = ["spectral_norm", "stable_rank", "nuclear_norm", "participation_ratio"]
    a = ftdiff.compare(fixtures / "base", fixtures / "lora", names)
    b = ftdiff.compare(fixtures / "base", fixtures / "merged_f32", names)
    keyed = b.frame.set_index("tensor")
    moved = a.frame[a.frame["status"] == "changed"]
    assert len(moved) > 10
    for _, row in moved.iterrows():
        for name in names:
            assert row[name] == pytest.approx(keyed.loc[row["tensor"], name], rel=2e-3)
    methods = {note["method"] for note in a.about["spectra"].values()}
    assert methods == {"factors"}


def test_a_metric_is_not_given_a_part_of_the_spectrum() -> None:
    @metric("tail", label="t", formula="t", range="t", null="0", needs="top")
    def tail(s: Spectrum) -> float:
        return float(s.values[-1])

    try:
        W = random(0, 6, 6)
        with pytest.raises(BadCall, match="the whole spectrum was not measured"):
            ftdiff.compare({"w": W}, {"w": 2 * W + np.eye(6)}, ["tail"])
    finally:
        del METRICS._items["tail"]  # type: ignore[attr-defined]


def test_a_metric_of_ones_own_travels_to_workers_by_name_and_no_lambda_does(
    fixtures: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    pair = fixtures / "base", fixtures / "lora"
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        far = ftdiff.compare(*pair, ["spectral"], processes)
        near = ftdiff.compare(*pair, ["spectral"])
        pd.testing.assert_frame_equal(far.frame, near.frame)
        metric("mine", label="m", formula="m", range="m", null="m", needs="top")(
            lambda s: s.largest
        )
        try:
            mine = ftdiff.compare(*pair, ["mine"]).frame["mine"]
            assert mine.equals(near.frame["spectral_norm"].rename("mine"))
            with pytest.raises(BadCall, match="cannot travel to the workers"):
                ftdiff.compare(*pair, ["mine"], processes)
        finally:
            del METRICS._items["mine"]  # type: ignore[attr-defined]


def test_a_group_has_the_value_of_its_one_moved_tensor(fixtures: Path) -> None:
    diff = ftdiff.compare(fixtures / "base", fixtures / "lora", ["spectral_norm"])
    table = diff.table("spectral_norm")
    row = diff.frame.set_index("tensor").loc["model.layers.1.mlp.up_proj.weight"]
    assert table.loc[1, "mlp.up"] == row["spectral_norm"] > 0
    assert diff.by("layer", metrics=["spectral_norm"])["spectral_norm"].isna().all()
    with pytest.raises(BadCall, match="stable_rank was not measured: compare with -m stable_rank"):
        diff.by("layer", metrics=["stable_rank"])


def test_long_work_says_how_long_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorwise, "_LONG", 0.0)
    said: list[str] = []
    seen: list[tuple[int, int]] = []
    W = random(0, 30, 30)
    ftdiff.compare(
        {"w": W},
        {"w": 2 * W},
        ["stable_rank"],
        progress=lambda done, total: seen.append((done, total)),
        say=said.append,
    )
    assert said and said[0].startswith("stable_rank of 1 tensor: about")
    assert seen[-1][0] == seen[-1][1] == W.nbytes


def test_only_what_is_asked_for_is_measured_and_how_is_kept(fixtures: Path, tmp_path: Path) -> None:
    diff = ftdiff.compare(fixtures / "base", fixtures / "full", ["stable_rank", "relative_norm"])
    notes = diff.about["spectra"]
    assert {note["method"] for note in notes.values()} == {"lanczos"}
    assert max(note["bound"] for note in notes.values()) <= 1e-4
    loaded = ftdiff.Diff.load(diff.save(tmp_path / "d.json"))
    assert loaded.frame["stable_rank"].equals(diff.frame["stable_rank"])
    assert loaded.about["spectra"] == notes
    plain: dict[str, Any] = ftdiff.compare(fixtures / "base", fixtures / "full").about
    assert "spectra" not in plain
