"""One reading of a tensor: the compiled loop and NumPy say the same, and little memory is held."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.analyses.merges.reading import read
from ftdiff.analyses.merges.replays import Guess, Replayed, Setting
from ftdiff.analyses.merges.sides import Sides
from ftdiff.analyses.merges.sums import Sums
from ftdiff.analyses.merges.ways import WAYS
from ftdiff.kernels import Mixture
from ftdiff.tensors import Array, ArrayTensor
from tests.conftest import write_model

LOW = ml_dtypes.bfloat16


def drawn(size: int, dtype: type, seed: int = 0) -> list[Array]:
    """Return M, W0, A and B: M a weighted sum, a hundredth of its entries changed after that."""
    draw = np.random.default_rng(seed)
    W = draw.standard_normal(size) * 0.05
    A, B = ((W + draw.standard_normal(size) * 2.5e-4).astype(dtype) for _ in range(2))
    M = np.float32(0.6) * A.astype(np.float32) + np.float32(0.4) * B.astype(np.float32)
    M[::100] *= 1.01
    return [M.astype(dtype), W.astype(dtype), A, B]


def both(
    arrays: list[Array], guess: Guess, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Sums, Replayed]]:
    merged, *sides = map(ArrayTensor, arrays)
    found = [read(Sides(merged, sides), guess)]
    monkeypatch.setattr(Mixture, "knows", lambda dtypes: False)
    return [*found, read(Sides(merged, sides), guess)]


def same(fast: tuple[Sums, Replayed], slow: tuple[Sums, Replayed]) -> None:
    assert np.allclose(fast[0].gram, slow[0].gram, rtol=1e-5, atol=1e-6 * abs(slow[0].gram).max())
    assert np.allclose(fast[0].plain, slow[0].plain, rtol=1e-5)
    counts = [(one.entries, one.moved, one.nonfinite) for one, _ in (fast, slow)]
    assert counts[0] == counts[1]
    assert (fast[1].equal, fast[1].right) == (slow[1].equal, slow[1].right)
    for one, other in zip(fast[1].intervals, slow[1].intervals, strict=True):
        assert one.low == pytest.approx(other.low, rel=1e-9)
        assert one.high == pytest.approx(other.high, rel=1e-9)


@pytest.mark.parametrize("dtype", [LOW, np.float16, np.float32])
@pytest.mark.parametrize("way", [*WAYS])
def test_the_compiled_loop_says_what_numpy_says(
    way: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = drawn(20_011, dtype)
    guess = Guess(Setting((0.6, 0.4), with_base=True), way)
    same(*both(arrays, guess, monkeypatch))
    if not WAYS[way].tasks:
        lone = Guess(Setting((0.7, 0.4) if way != "between" else (0.6, 0.4), with_base=False), way)
        monkeypatch.undo()
        same(*both([arrays[0], *arrays[2:]], lone, monkeypatch))


def test_a_window_that_holds_what_is_no_number_is_read_with_care(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = drawn(20_011, LOW)
    arrays[0][7], arrays[2][9_000] = np.nan, np.inf
    guess = Guess(Setting((0.6, 0.4), with_base=True), "linear")
    fast, slow = both(arrays, guess, monkeypatch)
    same(fast, slow)
    assert fast[0].nonfinite == 2 and fast[0].entries == 20_009


def test_memory_does_not_grow_with_a_tensor(tmp_path: Path) -> None:
    peaks = []
    for rows in (256, 2048):
        models = {}
        for name, one in zip("mwab", drawn(rows * 1024, LOW), strict=True):
            bits = torch.from_numpy(one.view(np.int16).reshape(rows, 1024)).view(torch.bfloat16)
            state = {"model.layers.0.mlp.up_proj.weight": bits}
            models[name] = write_model(tmp_path / f"{name}{rows}", state)
        with ThreadPoolExecutor(1) as executor:
            ftdiff.merge_of(models["m"], [models["a"], models["b"]], models["w"], sample=1000)
            tracemalloc.start()
            ftdiff.merge_of(models["m"], [models["a"], models["b"]], models["w"], executor=executor)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks) < 24 << 20 and peaks[1] < peaks[0] + (8 << 20)
