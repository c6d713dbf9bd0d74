from __future__ import annotations

import multiprocessing
import pickle
import random
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.comparison import engine, spans
from ftdiff.comparison.plan import Plan, pair
from ftdiff.deltas.moments import Moments
from ftdiff.formats import Quantised, open_checkpoint
from tests.conftest import llama, nudge, write_model
from tests.formats.few_bits_layouts import LAYOUTS


class Shuffled(Executor):
    """Runs tasks at once, and in an order of its own."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sizes: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.sizes.append(len(pickle.dumps((fn, args))))
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    base = llama(hidden=64, vocab=9001)  # an embedding of three tiles and a bit
    return write_model(folder / "base", base), write_model(folder / "tuned", nudge(base), shards=3)


def _plan(base: Path, tuned: Path) -> Plan:
    opened = open_checkpoint(base)
    return pair(opened, open_tuned(tuned, opened))


@given(limit=st.integers(1, 1 << 22), seed=st.integers(0, 5))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_task_size_gives_the_same_bits(
    pair_of: tuple[Path, Path], limit: int, seed: int
) -> None:
    plan = _plan(*pair_of)
    whole = [spans.moments(change) for change in plan.changes]
    assert engine.run(plan, Shuffled(seed), limit=limit) == whole


@pytest.mark.parametrize("tuned", ["full", "lora", "merged"])
def test_threads_and_processes_give_the_same_bits(fixtures: Path, tuned: str) -> None:
    base = fixtures / "base"
    alone = ftdiff.compare(base, fixtures / tuned).frame
    with ThreadPoolExecutor(3) as threads:
        pd.testing.assert_frame_equal(
            ftdiff.compare(base, fixtures / tuned, executor=threads).frame, alone
        )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        pd.testing.assert_frame_equal(
            ftdiff.compare(base, fixtures / tuned, executor=processes).frame, alone
        )


def test_a_change_pickles_under_a_kilobyte(fixtures: Path) -> None:
    for tuned in ("full", "lora"):
        for change in _plan(fixtures / "base", fixtures / tuned).changes:
            assert len(pickle.dumps(change)) < 1024


def test_weights_do_not_travel(pair_of: tuple[Path, Path]) -> None:
    workers = Shuffled(0)
    ftdiff.compare(*pair_of, executor=workers)
    assert sum(workers.sizes) < sum(f.stat().st_size for f in pair_of[0].iterdir()) / 20


def test_progress_ends_at_all_of_it(pair_of: tuple[Path, Path]) -> None:
    seen: list[tuple[int, int]] = []
    ftdiff.compare(*pair_of, progress=lambda done, total: seen.append((done, total)))
    phases = [
        [step for step in seen if step[1] == total] for total in dict.fromkeys(t for _, t in seen)
    ]
    assert [step for phase in phases for step in phase] == seen  # one after the other
    for phase in phases:
        assert phase == sorted(phase) and phase[-1][0] == phase[-1][1] > 0


def test_a_tensor_that_cannot_be_read_is_a_row_and_the_rest_is_kept(tmp_path: Path) -> None:
    base, tuned = llama(), nudge(llama())
    folder = write_model(tmp_path / "t", tuned, shards=2)
    opened = open_checkpoint(folder)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes() + b"x")
    diff = ftdiff.compare(write_model(tmp_path / "b", base), opened)
    broken = diff.frame[diff.frame["status"] == "unreadable"]
    assert 0 < len(broken) < len(diff.frame)
    assert set(diff.about["unreadable"]) == set(broken["tensor"])
    assert "changed since it was opened" in next(iter(diff.about["unreadable"].values()))
    assert diff.overall["relative_norm"] > 0


_SIGNED = [torch.int8, torch.int16, torch.int32, torch.int64]
_FLOATS = [
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]


@pytest.mark.parametrize("dtype", [*_FLOATS, *_SIGNED, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (257,), (3, 5, 7), (0, 4), (33, 70), (2, 2, 3, 3)])
def test_every_sum_equals_float64_arithmetic(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    draw = torch.Generator().manual_seed(3)
    W = (torch.randn(shape, generator=draw) * 3).to(dtype)
    W1 = (W.double() + torch.randn(shape, generator=draw).double()).to(dtype)
    for name, tensor in (("base", W), ("tuned", W1)):
        save_file({"w": tensor.clone()}, tmp_path / f"{name}.safetensors")
    diff = ftdiff.compare(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors")
    row = diff.frame.iloc[0]
    a, b = W.double().numpy().ravel(), W1.double().numpy().ravel()
    d = b - a
    assert row["base_sq"] == pytest.approx(a @ a, rel=1e-7)
    assert row["tuned_sq"] == pytest.approx(b @ b, rel=1e-7)
    assert row["delta_sq"] == pytest.approx(d @ d, rel=1e-7)
    assert row["inner"] == pytest.approx(a @ d, abs=1e-7 * np.sqrt((a @ a) * (d @ d)))
    assert row["base_abs"] == pytest.approx(np.abs(a).sum(), rel=1e-7)
    assert row["delta_abs"] == pytest.approx(np.abs(d).sum(), rel=1e-7)
    assert row["delta_max"] == pytest.approx(np.abs(d).max(initial=0.0), rel=1e-7)
    assert row["unequal"] == (d != 0).sum()
    assert row["sign_flips"] == (a * b < 0).sum()


def test_one_minus_cosine_keeps_nine_digits(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(5)
    W = torch.randn(300_000, generator=draw).to(torch.bfloat16)
    W1 = (W.float() + 0.01 * torch.randn(300_000, generator=draw)).to(torch.bfloat16)
    save_file({"w": W}, tmp_path / "base.safetensors")
    save_file({"w": W1}, tmp_path / "tuned.safetensors")
    diff = ftdiff.compare(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors")
    a, b = W.double().numpy().astype(np.longdouble), W1.double().numpy().astype(np.longdouble)
    expected = float(1 - (a @ b) / np.sqrt((a @ a) * (b @ b)))
    assert 4e-5 < expected < 6e-5
    assert 1 - diff.frame["cosine"].iloc[0] == pytest.approx(expected, abs=1e-9)


def test_the_usual_script_says_a_cosine_above_one_and_we_do_not() -> None:
    draw = torch.Generator().manual_seed(0)
    W = (torch.randn(8960 * 1536, generator=draw) * 0.02).to(torch.bfloat16)
    W1 = (W.float() + 2e-4 * torch.randn(W.shape, generator=draw)).to(torch.bfloat16)
    usual = torch.nn.functional.cosine_similarity(W.float(), W1.float(), dim=0)
    assert usual > 1.0001
    row = ftdiff.compare({"w": W}, {"w": W1}).frame.iloc[0]
    a, b = W.double().numpy(), W1.double().numpy()
    right = float((a @ b) / np.sqrt((a @ a) * (b @ b)))
    assert row["cosine"] == pytest.approx(right, abs=1e-9)
    expected = float(np.linalg.norm(b - a) / np.linalg.norm(a))
    assert row["relative_norm"] == pytest.approx(expected, rel=1e-7)


def test_moments_of_an_empty_change_are_neutral() -> None:
    assert Moments() + Moments() == Moments()


def test_a_million_values_are_made_from_codes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are memory, of every thread at once; a mapped file's pages are not."""
    asked: list[int] = []
    unpack = Quantised.unpacked

    def unpacked(self: Quantised, start: int, stop: int) -> Any:
        asked.append(stop - start)
        return unpack(self, start, stop)

    monkeypatch.setattr(Quantised, "unpacked", unpacked)
    W = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(5))
    coarse = LAYOUTS["float 8 of the whole"](W)
    base = write_model(tmp_path / "base", {"m.weight": W})
    tuned = write_model(tmp_path / "tuned", coarse.parts, config=coarse.config)
    diff = ftdiff.compare(base, tuned)
    assert diff.overall["relative_norm"] == pytest.approx(0.026, rel=0.1)
    assert sum(asked) >= W.numel() and max(asked) <= 1 << 20
