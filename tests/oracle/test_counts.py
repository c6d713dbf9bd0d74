"""Thresholds and merges, entry by entry, against torch and against trained fixtures."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.deltas.recipes import Added, Product, Replaced, StoredDelta
from ftdiff.metrics import METRICS, resolve
from ftdiff.metrics.records.crossings import crossings
from ftdiff.metrics.records.merge_rounding import merged
from ftdiff.tensors import Array, ArrayTensor, LazyTensor
from tests.conftest import write_model

CHANGED = [m.name for m in resolve(["changed"])]
VISIBILITY = [m.name for m in resolve(["visibility"])]
STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([1e-7, 1e-5, 1e-3, 1e-1])


def lazy(tensor: torch.Tensor) -> LazyTensor:
    from ftdiff.formats import open_checkpoint

    return open_checkpoint({"w": tensor}).tensors["w"]


def double(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float64))


def thresholds(W: torch.Tensor, dW: torch.Tensor) -> tuple[int, int, int]:
    """The three counts in torch's float64."""
    moved, rms = dW.abs(), (W**2).mean().sqrt()
    larger = torch.maximum(W.abs(), (W + dW).abs())
    return tuple(int(x.sum()) for x in (moved > 1e-5, moved > 1e-3 * larger, moved > 1e-3 * rms))  # type: ignore[return-value]


def test_the_groups_hold_the_definitions_that_are_in_use() -> None:
    assert CHANGED == [
        "changed_fraction",
        "changed_fraction_abs",
        "changed_fraction_bf16",
        "changed_fraction_rms",
    ]
    assert len(VISIBILITY) == 6
    assert not {*CHANGED[1:], *VISIBILITY} & {m.name for m in resolve(())}


@given(st.sampled_from(list(STORED)), st.integers(1, 40), st.integers(1, 40), SIZES, SEEDS)
@settings(deadline=None, max_examples=60)
def test_thresholds_of_a_checkpoint_equal_torchs(
    dtype: str, rows: int, columns: int, size: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed % 2**31)
    W = (torch.randn(rows, columns, generator=draw) * 0.02).to(STORED[dtype])
    W1 = (W.float() + size * torch.randn(rows, columns, generator=draw)).to(STORED[dtype])
    found = crossings(Replaced(lazy(W1)), lazy(W))
    assert found is not None
    assert (found.absolute, found.relative, found.of_rms) == thresholds(
        W.double(), W1.double() - W.double()
    )
    assert found.numel == rows * columns


@given(st.sampled_from(list(STORED)), SIZES, SEEDS, st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_merge_equals_torchs_rounding(dtype: str, size: float, seed: int, low: bool) -> None:
    rng = np.random.default_rng(seed)
    W = torch.from_numpy(rng.standard_normal((30, 50)) * 0.02).to(STORED[dtype])
    B, A = (rng.standard_normal(s).astype(np.float32) for s in ((30, 2), (2, 50)))
    recipe = (
        Added((30, 50), Product(ArrayTensor(A), ArrayTensor(B), size))
        if low
        else StoredDelta(ArrayTensor(size * (B @ A)))
    )
    base = lazy(W)
    dW = double(recipe.entries(base)(0, 1500)).reshape(30, 50)
    found, crossed = merged(recipe, base), crossings(recipe, base)
    assert found is not None
    assert crossed is not None
    exact = W.double() + dW
    for name, kind in (("", STORED[dtype]), ("BF16", torch.bfloat16), ("F16", torch.float16)):
        kept = exact.to(kind).double()
        error = torch.linalg.vector_norm(kept - exact) / torch.linalg.vector_norm(dW)
        # torch rounds twice, by way of float32: one entry in ten thousand ends on the other side
        share = float((kept != W.double()).double().mean())
        assert found.share(name) == pytest.approx(share, abs=2 / 1500)
        assert found.error(name) == pytest.approx(float(error), rel=1e-3)
    kept = exact.to(STORED[dtype]).double() - W.double()
    counts = (crossed.absolute, crossed.relative, crossed.of_rms)
    assert counts == pytest.approx(thresholds(W.double(), kept), abs=2)


def test_counts_do_not_depend_on_how_entries_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    W, dW = (ArrayTensor(rng.standard_normal((37, 11)).astype(np.float32)) for _ in range(2))
    whole = crossings(StoredDelta(dW), W), merged(StoredDelta(dW), W)
    monkeypatch.setattr("ftdiff.metrics.records.entries._STRIP", 25)
    cut = crossings(StoredDelta(dW), W), merged(StoredDelta(dW), W)
    assert cut[0] == whole[0]
    assert cut[1] is not None and whole[1] is not None
    assert cut[1].visible == whole[1].visible
    assert cut[1].delta_sq == pytest.approx(whole[1].delta_sq, rel=1e-13)


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0), (1, 4), (2, 3, 4)])
def test_every_shape_is_counted(shape: tuple[int, ...]) -> None:
    W, dW = np.ones(shape, np.float32), np.full(shape, 0.5, np.float32)
    for recipe in (Replaced(ArrayTensor(W + dW)), StoredDelta(ArrayTensor(dW))):
        found = crossings(recipe, ArrayTensor(W))
        assert found is not None
        assert found.numel == found.absolute == found.relative == found.of_rms == W.size
    seen = merged(StoredDelta(ArrayTensor(dW)), ArrayTensor(W))
    assert seen is not None
    assert seen.visible[""] == W.size
    assert math.isnan(seen.share("")) == (W.size == 0)


def test_the_relative_threshold_grows_with_the_larger_side() -> None:
    W, dW = np.array([1.0, 1.0, -1.0]), np.array([1.0005e-3, 1.002e-3, 1.0005e-3])
    found = crossings(Replaced(ArrayTensor(W + dW)), ArrayTensor(W))
    assert found is not None
    assert found.relative == 2  # 1.0005e-3 is more than a thousandth of 1, not of 1.0010005


def test_what_is_not_finite_crosses_nothing() -> None:
    W = np.array([1.0, np.nan, np.inf, 1.0], np.float32)
    dW = np.array([np.nan, 1.0, 1.0, 1.0], np.float32)
    found = crossings(StoredDelta(ArrayTensor(dW)), ArrayTensor(W))
    seen = merged(StoredDelta(ArrayTensor(dW)), ArrayTensor(W))
    assert found is not None and seen is not None
    assert (found.absolute, found.relative, found.of_rms, seen.visible[""]) == (1, 1, 1, 1)


def test_nothing_is_said_of_a_merge_without_a_base_or_of_a_checkpoint() -> None:
    W = ArrayTensor(np.ones((3, 3), np.float32))
    assert merged(Replaced(W), W) is None
    assert merged(StoredDelta(W), None) is None
    assert crossings(Replaced(W), None) is None
    assert merged(StoredDelta(W), ArrayTensor(np.ones((3, 3), np.int32))) is None


def test_an_adapters_visible_share_is_what_its_merged_checkpoint_changed(fixtures: Path) -> None:
    base = fixtures / "base"
    lora = ftdiff.compare(base, fixtures / "lora", [*CHANGED, *VISIBILITY])
    done = ftdiff.compare(base, fixtures / "merged", CHANGED)
    held = lora.frame.dropna(subset=["visible_fraction"]).set_index("tensor")
    real = done.frame.set_index("tensor").loc[held.index]
    assert len(held) == 196
    assert held["visible_fraction"].to_numpy(float) == pytest.approx(
        real["changed_fraction"].to_numpy(float), abs=2e-3
    )
    for name in CHANGED[1:]:
        assert held[name].to_numpy(float) == pytest.approx(real[name].to_numpy(float), abs=2e-3)
    assert (held["changed_fraction"] == 1).all()  # dense by construction
    assert (held["visible_fraction"] == held["visible_fraction_bf16"]).all()


def test_groups_have_the_share_of_all_their_entries(fixtures: Path) -> None:
    diff = ftdiff.compare(fixtures / "base", fixtures / "lora", [*CHANGED, *VISIBILITY])
    frame = diff.frame[diff.frame["status"] == "changed"]
    layer = frame[frame["layer"] == 4]
    row = diff.by("layer", metrics=[*CHANGED, *VISIBILITY]).set_index("layer").loc[4]
    for name in (*CHANGED, "visible_fraction"):
        entries = (layer[name] * layer["numel"]).round().sum()
        assert row[name] == pytest.approx(entries / layer["numel"].sum(), rel=1e-12)
    lost = (layer["merge_error"] ** 2 * layer["delta_sq"]).sum()
    assert row["merge_error"] == pytest.approx(math.sqrt(lost / layer["delta_sq"].sum()), rel=1e-12)
    assert diff.by(metrics=["visible_fraction"]).loc[0, "visible_fraction"] > 0.9
    assert not diff.table("visible_fraction").loc[:, "attn.q"].isna().any()
    assert diff.table("visible_fraction").loc[:, "norm.input"].isna().all()


def test_processes_and_files_keep_the_counts(fixtures: Path, tmp_path: Path) -> None:
    names = [*CHANGED, *VISIBILITY]
    diff = ftdiff.compare(fixtures / "base", fixtures / "lora", names)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        far = ftdiff.compare(fixtures / "base", fixtures / "lora", names, executor=processes)
    pd.testing.assert_frame_equal(far.frame, diff.frame)
    loaded = ftdiff.Diff.load(diff.save(tmp_path / "x.json"))
    pd.testing.assert_frame_equal(
        loaded.by("layer", metrics=names), diff.by("layer", metrics=names)
    )


def gaussian(tmp_path: Path, size: float, metrics: list[str]) -> pd.Series:
    """A Gaussian base in bfloat16, and a Gaussian change of this relative norm beside it."""
    rng = np.random.default_rng(3)
    W = torch.from_numpy(rng.standard_normal((500, 400)) * 0.02).to(torch.bfloat16)
    A, B = (rng.standard_normal(s).astype(np.float32) for s in ((16, 400), (500, 16)))
    scaling = size * 0.02 / np.std(B @ A)
    base = write_model(tmp_path, {"model.layers.0.mlp.up_proj.weight": W})
    from ftdiff.deltas.recipes import Tuned

    recipe = Added((500, 400), Product(ArrayTensor(A), ArrayTensor(B), float(scaling)))
    tuned = Tuned({"model.layers.0.mlp.up_proj.weight": recipe}, "noise", "lora")
    diff = ftdiff.compare(base, tuned, metrics)
    return pd.concat(
        [
            diff.frame.iloc[0],
            pd.Series({m: diff.expected(m)[0] for m in metrics}, name="null").add_prefix("null_"),
        ]
    )


@pytest.mark.parametrize(("size", "seen"), [(1e-3, 0.22), (1e-2, 0.82)])
def test_what_noise_shows_of_itself_is_as_said(tmp_path: Path, size: float, seen: float) -> None:
    row = gaussian(tmp_path, size, VISIBILITY)
    assert row["visible_fraction"] == pytest.approx(seen, abs=0.03)
    assert str(seen) in METRICS["visible_fraction"].null
    if size == 1e-3:
        assert row["visible_fraction_f16"] == pytest.approx(0.77, abs=0.03)
        assert "0.77" in METRICS["visible_fraction_f16"].null


def test_the_error_of_a_merge_is_the_floor_against_the_change(tmp_path: Path) -> None:
    row = gaussian(tmp_path, 2e-2, VISIBILITY)
    assert row["merge_error"] == pytest.approx(row["null_merge_error"], rel=0.1)
    assert row["merge_error_bf16"] == pytest.approx(0.0017 / 0.02, rel=0.1)
    assert row["merge_error_f16"] == pytest.approx(0.0002 / 0.02, rel=0.15)
    assert pd.isna(gaussian(tmp_path, 1e-4, VISIBILITY)["null_merge_error"])


def test_noise_crosses_a_share_of_the_rms_as_the_normal_law_says() -> None:
    rng = np.random.default_rng(5)
    W = (rng.standard_normal((300, 300)) * 0.02).astype(np.float32)
    dW = (rng.standard_normal((300, 300)) * 0.02 * 1.5e-3).astype(np.float32)
    diff = ftdiff.compare({"w": W}, {"w": W + dW}, ["changed_fraction_rms"])
    expected = float(diff.expected("changed_fraction_rms")[0])
    assert diff.frame.loc[0, "changed_fraction_rms"] == pytest.approx(expected, abs=0.01)
    assert expected == pytest.approx(math.erfc(1 / 1.5 / math.sqrt(2)), abs=0.01)
