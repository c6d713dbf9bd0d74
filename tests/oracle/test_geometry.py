"""Directions of a change against whole decompositions by NumPy, SciPy and torch."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import ftdiff
from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.deltas.recipes import Added, Recipe, Replaced
from ftdiff.deltas.recipes.stored import StoredDelta
from ftdiff.metrics import resolve
from ftdiff.metrics.geometry import EPSILON
from ftdiff.metrics.linalg.alignment_bounds import largest_share
from ftdiff.metrics.linalg.lanczos import Leading, leading
from ftdiff.metrics.linalg.row_matrices import Held, Matrix, Stored
from ftdiff.metrics.records import subspaces
from ftdiff.tensors import Array, ArrayTensor
from tests.oracle.test_spectra import Given, measured, random

GEOMETRY = [m.name for m in resolve(["geometry"])]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTDIFF_CACHE", str(tmp_path / "cache"))


def _decaying(seed: int, rows: int, columns: int) -> Array:
    """Return a matrix whose leading directions stand apart."""
    U, _, V = np.linalg.svd(random(seed, rows, columns), full_matrices=False)
    return np.asarray((U * 1.2 ** -np.arange(U.shape[1])) @ V)


def _expected(W: Array, dW: Array, rank: int) -> dict[str, float]:
    W1, k = W + dW, min(10, *W.shape)
    (U0, s0, V0), (U1, s1, V1), (U, _, V) = (
        np.linalg.svd(M, full_matrices=False) for M in (W, W1, dW)
    )
    U_k, V_k, r = U0[:, :k], V0[:k].T, min(rank, k)
    size = np.linalg.norm(dW)
    rows = [torch.from_numpy(M) for M in (W, W1)]
    cosines = torch.nn.functional.cosine_similarity(*rows, dim=1)
    return {
        "projection_energy": (np.linalg.norm(U_k.T @ dW @ V_k) / size) ** 2,
        "projection_energy_left": (np.linalg.norm(U_k.T @ dW) / size) ** 2,
        "projection_energy_right": (np.linalg.norm(dW @ V_k) / size) ** 2,
        "subspace_rotation_left": _sine(U_k, U1[:, :k]),
        "subspace_rotation_right": _sine(V_k, V1[:k].T),
        "intruder_dimensions": (np.abs(U0.T @ U1[:, :k]).max(axis=0) < EPSILON).sum(),
        "amplification": size / np.linalg.norm(U[:, :r].T @ W @ V[:r].T),
        "spectrum_drift": np.linalg.norm(s1 - s0) / np.linalg.norm(s0),
        "magnitude_change": (rows[1].norm(dim=1) - rows[0].norm(dim=1)).abs().mean().item(),
        "direction_change": (1 - cosines).mean().item(),
    }


def _sine(before: Array, after: Array) -> float:
    return math.sqrt(np.mean(np.sin(scipy.linalg.subspace_angles(before, after)) ** 2))


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (36, 36), (12, 60), (8, 5), (1, 9), (9, 1)])
@pytest.mark.parametrize("form", ["dense", "low-rank"])
def test_geometry_is_that_of_whole_decompositions(shape: tuple[int, int], form: str) -> None:
    W = _decaying(0, *shape)
    low = LowRank(
        0.2 * random(1, shape[0], 3).astype(np.float32),
        random(2, 3, shape[1]).astype(np.float32),
        0.1,
    )
    dense = 0.02 * _decaying(3, *shape)
    recipe: Recipe = (
        Added(shape, Given(low)) if form == "low-rank" else Replaced(ArrayTensor(W + dense))
    )
    dW, rank = (low.dense(), 3) if form == "low-rank" else (dense, min(shape))
    found = measured(recipe, ArrayTensor(W), GEOMETRY)
    assert found == pytest.approx(_expected(W, dW, rank), rel=1e-4, abs=1e-6)


def test_experts_have_the_mean_of_their_geometries() -> None:
    W = np.stack([_decaying(i, 14, 12) for i in range(3)])
    parts = [
        LowRank(random(i, 14, 2).astype(np.float32), random(i + 9, 2, 12).astype(np.float32), 0.01)
        for i in range(3)
    ]
    dW = np.stack([part.dense() for part in parts])
    each = [_expected(W[i], dW[i], 2) for i in range(3)]
    expected = {name: np.mean([one[name] for one in each]) for name in each[0]}
    name = "model.layers.0.mlp.experts.down_proj"
    factored = Added((3, 14, 12), Given(Stacked(parts)), view=(42, 12))
    assert measured(factored, ArrayTensor(W), GEOMETRY, name) == pytest.approx(expected, rel=1e-4)
    dense = measured(Replaced(ArrayTensor(W + dW)), ArrayTensor(W), GEOMETRY, name)
    known = {k: v for k, v in expected.items() if k != "amplification"}  # that looks at ten
    assert {k: dense[k] for k in known} == pytest.approx(known, rel=1e-4)


@pytest.mark.parametrize("form", ["dense", "low-rank", "padded"])
@pytest.mark.parametrize("rank", [1, 4])
def test_only_directions_of_the_change_amplify(form: str, rank: int) -> None:
    W, zeros = _decaying(0, 40, 30), {"padded": 12 - rank}.get(form, 0)
    B = np.pad(random(1, 40, rank), ((0, 0), (0, zeros))).astype(np.float32)
    A = np.pad(random(2, rank, 30), ((0, zeros), (0, 0)), mode="edge").astype(np.float32)
    low = LowRank(B, A, 0.1)
    recipe: Recipe = Added(W.shape, Given(low))
    if form == "dense":
        recipe = StoredDelta(ArrayTensor(low.dense()))
    found = measured(recipe, ArrayTensor(W), ["amplification"])["amplification"]
    assert found == pytest.approx(_expected(W, low.dense(), rank)["amplification"], rel=1e-4)


def test_no_change_amplifies_nothing() -> None:
    low = LowRank(np.zeros((9, 2), np.float32), random(0, 2, 8).astype(np.float32))
    W = ArrayTensor(random(1, 9, 8))
    assert math.isnan(measured(Added((9, 8), Given(low)), W, ["amplification"])["amplification"])


@pytest.mark.parametrize("planted", [0, 1, 3])
def test_planted_intruders_are_counted(planted: int) -> None:
    W = _decaying(0, 60, 50)
    U, V = np.linalg.qr(random(1, 60, 3))[0], np.linalg.qr(random(2, 50, 3))[0]
    dW = 5 * (U[:, :planted] @ V[:, :planted].T) + 1e-4 * random(3, 60, 50)
    found = measured(Replaced(ArrayTensor(W + dW)), ArrayTensor(W), ["intruder_dimensions"])
    assert found["intruder_dimensions"] == _expected(W, dW, 10)["intruder_dimensions"]
    assert found["intruder_dimensions"] >= planted


def test_a_direction_deep_in_the_base_is_no_intruder() -> None:
    W = _decaying(0, 60, 50)
    U, _, V = np.linalg.svd(W)
    dW = 5 * np.outer(U[:, 30], V[30])  # far below the ten that are looked at
    found = measured(Replaced(ArrayTensor(W + dW)), ArrayTensor(W), ["intruder_dimensions"])
    assert found["intruder_dimensions"] == 0


@pytest.mark.parametrize("shape", [(30, 90), (60, 61)])
def test_a_large_matrix_counts_the_intruders_that_a_small_one_does(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    W = _decaying(0, *shape)
    U, V = (np.linalg.qr(random(seed, side, 3))[0] for seed, side in enumerate(shape))
    deep = np.linalg.svd(W)[0][:, 20]
    dW = 5 * (U @ V.T) + 4 * np.outer(deep, V[:, 0])
    args = Replaced(ArrayTensor(W + dW)), ArrayTensor(W), ["intruder_dimensions"]
    small = measured(*args)
    monkeypatch.setattr(subspaces, "SMALL_SIDE", 0)
    assert measured(*args) == small == {"intruder_dimensions": _intruders(W, W + dW)}


def _intruders(W: Array, W1: Array) -> int:
    after = np.linalg.svd(W1)[0][:, :10]
    before = np.linalg.svd(W, full_matrices=False)[0]
    return int((np.abs(before.T @ after).max(axis=0) < EPSILON).sum())


@given(st.integers(0, 99), st.integers(1, 30), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_no_share_exceeds_its_bound(seed: int, steps: int, mixed: float) -> None:
    M = _decaying(seed, 24, 20)
    full = np.linalg.svd(M)[0]
    left = (1 - mixed) * full[:, [seed % 20]] + mixed * random(seed + 1, 24, 1)
    left /= np.linalg.norm(left)
    bound = largest_share(Held(M), left, 0.0, steps)[0]
    assert np.square(full[:, :20].T @ left).max() <= bound * (1 + 1e-6)
    assert bound <= 1 + 1e-9


@given(st.integers(0, 99), st.floats(1e-3, 3))
@settings(max_examples=25, deadline=None)
def test_singular_values_drift_no_further_than_the_matrix_moves(seed: int, size: float) -> None:
    W, dW = random(seed, 9, 7), size * random(seed + 1, 9, 7)
    found = measured(Replaced(ArrayTensor(W + dW)), ArrayTensor(W), GEOMETRY)
    assert found["spectrum_drift"] <= np.linalg.norm(dW) / np.linalg.norm(W) * (1 + 1e-9)
    left, right = found["projection_energy_left"], found["projection_energy_right"]
    assert found["projection_energy"] <= min(left, right) * (1 + 1e-9) <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_noise_has_the_geometry_that_is_expected_of_it(shape: tuple[int, int]) -> None:
    W, noise = random(0, *shape), 0.3 * random(1, *shape)
    diff = ftdiff.compare({"w": W}, {"w": W + noise}, GEOMETRY)
    row = diff.frame.iloc[0]
    for name in ("projection_energy_left", "projection_energy_right", "direction_change"):
        assert row[name] == pytest.approx(diff.expected(name).iloc[0], rel=0.1)
    for name in ("magnitude_change", "spectrum_drift"):
        assert row[name] == pytest.approx(diff.expected(name).iloc[0], rel=0.1)
    # a hundred squares of normal numbers: a tenth and a half of the mean is three deviations
    expected = diff.expected("projection_energy").iloc[0]
    assert row["projection_energy"] == pytest.approx(expected, rel=0.45)
    relative = np.linalg.norm(noise) / np.linalg.norm(W)
    unknown = relative * math.sqrt(math.prod(shape)) / 10
    assert row["amplification"] == pytest.approx(unknown, rel=0.25)


def test_unrelated_subspaces_are_turned_as_far_as_chance_turns_them() -> None:
    W, W1 = random(0, 300, 200), 50 * random(1, 300, 200)
    diff = ftdiff.compare({"w": W}, {"w": W1}, GEOMETRY)
    for name in ("subspace_rotation_left", "subspace_rotation_right"):
        assert diff.frame[name].iloc[0] == pytest.approx(diff.expected(name).iloc[0], rel=0.02)
    assert diff.frame["intruder_dimensions"].iloc[0] == 10


def test_a_small_change_of_a_spectrum_with_gaps_brings_no_intruder() -> None:
    W = _decaying(0, 60, 50)
    found = measured(Replaced(ArrayTensor(W + 1e-5 * random(1, 60, 50))), ArrayTensor(W), GEOMETRY)
    assert found["intruder_dimensions"] == 0
    assert found["subspace_rotation_left"] < 1e-3


def test_a_vector_an_adapter_alone_and_what_is_not_finite_have_no_geometry(fixtures: Path) -> None:
    vector = ftdiff.compare({"w": np.ones(5)}, {"w": np.arange(5.0)}, GEOMETRY).frame
    alone = ftdiff.compare(None, fixtures / "lora", GEOMETRY).frame
    W, W1 = random(0, 9, 8), random(1, 9, 8)
    W1[2, 3] = math.nan
    broken = ftdiff.compare({"w": W}, {"w": W1}, GEOMETRY).frame
    for frame in (vector, alone, broken):
        assert frame[GEOMETRY].isna().to_numpy().all()


def test_a_lora_and_its_merge_have_one_geometry(fixtures: Path) -> None:
    names = ["projection_energy", "subspace_rotation_left", "spectrum_drift", "amplification"]
    a = ftdiff.compare(fixtures / "base", fixtures / "lora", names).frame
    b = ftdiff.compare(fixtures / "base", fixtures / "merged_f32", names).frame.set_index("tensor")
    moved = a[a["status"] == "changed"]
    for name in names[:3]:
        merged = b.loc[moved["tensor"], name]
        assert moved[name].to_numpy(float) == pytest.approx(merged.to_numpy(float), rel=0.01)


def test_the_bases_decomposition_is_made_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def counted(matrix: Matrix, *rest: int) -> Leading:
        if isinstance(matrix, Stored):
            made.append(matrix)
        return leading(matrix, *rest)

    monkeypatch.setattr(subspaces, "leading", counted)
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    W = random(0, 30, 20)
    save_file({"w": W}, base)
    save_file({"w": W + 0.1 * random(1, 30, 20)}, tuned)
    first = ftdiff.compare(base, tuned, GEOMETRY)
    assert len(made) == 1
    again = ftdiff.compare(base, tuned, GEOMETRY)
    assert len(made) == 1
    assert again.frame.equals(first.frame)
    assert again.about["spectra"] == first.about["spectra"]
    for kept in (tmp_path / "cache").iterdir():
        kept.write_bytes(b"not what was kept")
    assert ftdiff.compare(base, tuned, GEOMETRY).frame.equals(first.frame)
    assert len(made) == 2
    save_file({"w": 2 * W}, base)
    os.utime(base, ns=(1, 1))
    assert not ftdiff.compare(base, tuned, GEOMETRY).frame.equals(first.frame)
    assert len(made) == 3


def test_what_was_kept_of_another_shape_is_not_believed(tmp_path: Path) -> None:
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    W = random(0, 30, 20)
    save_file({"w": W}, base)
    save_file({"w": W + 0.1 * random(1, 30, 20)}, tuned)
    first = ftdiff.compare(base, tuned, GEOMETRY)
    for kept in (tmp_path / "cache").iterdir():
        np.savez(kept, values=np.ones(3), bound=np.array(0.0))
    assert ftdiff.compare(base, tuned, GEOMETRY).frame.equals(first.frame)


@pytest.mark.parametrize("place", ["", "/dev/null/nowhere"])
def test_nothing_has_to_be_kept(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTDIFF_CACHE", place)
    save_file({"w": random(0, 9, 9)}, tmp_path / "b.safetensors")
    diff = ftdiff.compare(tmp_path / "b.safetensors", {"w": random(1, 9, 9)}, ["projection_energy"])
    assert diff.frame["projection_energy"].notna().all()
    assert not (tmp_path / "cache").exists()
