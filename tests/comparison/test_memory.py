"""Measuring stays within a size: tasks wait for each other, what alone needs more is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import save_file

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.comparison import executors, spans
from ftdiff.errors import BadCall
from ftdiff.formats.remote import blocks
from ftdiff.metrics.linalg import lanczos
from ftdiff.tensors import bounds
from tests.comparison.losing import Losing
from tests.comparison.tasks import work
from tests.formats.quantised_models import gptq, quantise

UP = "model.layers.0.mlp.up_proj.weight"


class Holding:
    """Work that notes how much is held at a time."""

    def __init__(self) -> None:
        self.lock, self.now, self.most, self.together = threading.Lock(), 0, 0, 0
        self.running = 0

    def __call__(self, number: int) -> int:
        with self.lock:
            self.now, self.running = self.now + number, self.running + 1
            self.most = max(self.most, self.now)
            self.together = max(self.together, self.running)
        time.sleep(0.01)
        with self.lock:
            self.now, self.running = self.now - number, self.running - 1
        return number * number


def test_tasks_that_run_together_hold_no_more_than_the_bound() -> None:
    seen, tasks = Holding(), [[n] for n in (3, 6, 2, 2, 9, 1, 1, 1, 5, 4)]
    with bounds.bounded(9), ThreadPoolExecutor(4) as threads:
        found = executors.run(work(seen, memory=lambda n: n), tasks, threads)
    assert found == [n * n for [n] in tasks]
    assert seen.most == 9
    assert seen.together > 1


def test_what_alone_needs_more_is_refused_before_anything_is_measured() -> None:
    watched = Losing(lambda _: False)
    needs = work(memory=lambda n: n * 1_000_000)
    with bounds.bounded("8MB"), pytest.raises(BadCall) as refused:
        executors.run(needs, [[3, 2], [9], [1]], watched)
    assert str(refused.value) == "--memory 8 MB: n9 alone needs 9 MB (squares)"
    assert not watched.tasks
    with bounds.within(bounds.Bound(8_000_000)):  # nobody asked: it is measured alone
        assert executors.run(needs, [[3, 2], [9], [1]], watched) == [9, 4, 81, 1]


@pytest.mark.parametrize("said", ["", "much", "-4MB", "0", "4 MB or so", "1e9"])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(BadCall, match="--memory"), bounds.bounded(said):
        pass


def test_workers_know_the_bound_and_how_many_they_are() -> None:
    with bounds.bounded("60MB"), ThreadPoolExecutor(3) as threads:
        (found,) = executors.run(work(lambda _: bounds.held()), [[1]], threads)
    assert isinstance(found, bounds.Bound)
    assert (found.size, found.share, found.given) == (60_000_000, 20_000_000, True)


def dense(folder: Path, rows: int, columns: int) -> tuple[str, str]:
    """Return files of a dense change of a matrix."""
    draw = np.random.default_rng(0)
    W = draw.standard_normal((rows, columns), np.float32) * 0.02
    for name, M in (("a", W), ("b", W + draw.standard_normal(W.shape, np.float32) * 0.002)):
        save_file({UP: M.astype(ml_dtypes.bfloat16)}, folder / f"{name}.safetensors")
    return str(folder / "a.safetensors"), str(folder / "b.safetensors")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return dense(tmp_path_factory.mktemp("wide"), 600, 16_000)


def test_spectra_have_the_same_bits_for_any_bound(tmp_path: Path) -> None:
    sides, found = dense(tmp_path, 200, 6_000), set()
    for size, is_held in (("8GB", True), ("45MB", False)):
        with bounds.bounded(size):
            assert lanczos.needed(200, 6_000) > 45e6 or not is_held
            diff = ftdiff.compare(*sides, ["spectral_norm"])
        found.add(diff.columns["spectral_norm"].tobytes())
    assert len(found) == 1


def test_a_spectrum_beyond_the_bound_is_refused_before_the_sums(
    wide: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "moments", None)
    asked = ["compare", *wide, "-m", "effective_rank", "--memory", "90MB"]
    ran = CliRunner().invoke(door, asked)
    assert isinstance(ran.exception, BadCall)
    assert str(ran.exception) == f"--memory 90 MB: {UP} alone needs 165 MB (spectra)"


@pytest.mark.parametrize(
    ("command", "size", "told"),
    [
        (lambda base, tuned: ftdiff.recover(base, tuned), "50MB", "58 MB (spectra)"),
        (lambda base, tuned: ftdiff.similarity([tuned, tuned], base), "20MB", "26 MB (reading)"),
    ],
    ids=["whole matrices", "rows of all fine-tunes"],
)
def test_other_commands_are_bounded_too(
    tmp_path: Path, command: Callable[[str, str], object], size: str, told: str
) -> None:
    sides = dense(tmp_path, 200, 6_000)
    with bounds.bounded(size), pytest.raises(BadCall) as refused:
        command(*sides)
    assert (
        str(refused.value)
        == f"--memory {bounds.told(bounds.size_of(size))}: {UP} alone needs {told}"
    )


def test_buffers_of_remote_files_are_a_part_of_the_bound() -> None:
    fetched = blocks.Blocks(
        [(0, 6 * blocks.BLOCK)], lambda start, stop: memoryview(bytes(stop - start))
    )
    before = len(blocks._HELD)
    with bounds.bounded(4 * 2 * blocks.BLOCK):
        for i in range(6):
            fetched.lend(i * blocks.BLOCK, i * blocks.BLOCK + 1)
    assert len(blocks._HELD) - before == 2
    fetched.close()


PEAK = """
import re, sys, threading, time
import numpy as np, ftdiff
from ftdiff.comparison import engine, per_tensor
from ftdiff.metrics import METRICS
from ftdiff.tensors.bounds import bounded
def private():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
small, metric, size, *sides = sys.argv[1:]
ftdiff.compare(small, small, [metric])
np.linalg.eigvalsh(np.eye(600))
most = [private()] * 2
def watch():
    while True:
        most[1] = max(most[1], private())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
with bounded(size):
    diff = ftdiff.compare(*sides, [metric])
print(most[1] - most[0], diff.columns[metric].tobytes().hex())
"""


def held(*args: str) -> tuple[int, str]:
    """Return the private bytes that a run holds over the interpreter, and what it found."""
    command = [sys.executable, "-c", PEAK, *args]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    size, found = ran.stdout.split()
    return int(size), found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("small") / "a.safetensors"
    save_file({UP: np.ones((8, 8), ml_dtypes.bfloat16)}, path)
    return str(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="private memory is Linux's word")
def test_a_spectral_run_stays_within_its_bound(wide: tuple[str, str], small: str) -> None:
    size, _ = held(small, "effective_rank", "180MB", *wide)
    assert size < 180e6


def test_a_large_weight_is_dequantised_within_the_bound(tmp_path: Path, small: str) -> None:
    W = torch.randn(1024, 8192, generator=torch.Generator().manual_seed(1)) * 0.02
    config = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": False}
    packed, values = quantise(tmp_path / "q", gptq(), base={UP: W}, quantization_config=config)
    save_file({UP: W.numpy()}, tmp_path / "a.safetensors")
    sides = str(tmp_path / "a.safetensors"), str(packed)
    with bounds.bounded("4GB"):
        whole = ftdiff.compare(*sides, ["relative_norm"]).columns["relative_norm"]
    size, found = held(small, "relative_norm", "12MB", *sides)
    assert size < 12e6
    assert found == whole.tobytes().hex()
    norm = float(torch.linalg.norm((values[UP] - W).double()) / torch.linalg.norm(W.double()))
    assert whole[0] == pytest.approx(norm, rel=1e-5)


def test_less_than_one_window_is_refused_before_anything_is_read(
    wide: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "moments", None)
    ran = CliRunner().invoke(door, ["compare", *wide, "--memory", "2MB"])
    assert isinstance(ran.exception, BadCall)
    told = "--memory 2 MB: any comparison needs 7 MB (a tile in float64)"
    assert str(ran.exception) == told
    with bounds.bounded("1MB"), pytest.raises(BadCall) as refused:
        ftdiff.similarity([wide[1], wide[1]], wide[0])
    assert "alone needs" in str(refused.value)


def test_one_window_is_enough_and_by_default_too_little_is_tolerated(wide: tuple[str, str]) -> None:
    found = set()
    for bound in (bounds.Bound(7_000_000, given=True), bounds.Bound(1000), bounds.Bound()):
        with bounds.within(bound):
            diff = ftdiff.compare(*wide)
        found.add((diff.columns["delta_sq"].tobytes(), str(diff.about.get("structure"))))
    assert len(found) == 1


def _lora(folder: Path) -> tuple[str, str, str]:
    """Return a base, a LoRA of it, and its merge."""
    draw = np.random.default_rng(0)
    W = draw.standard_normal((64, 512), np.float32) * 0.02
    B, A = draw.standard_normal((64, 4), np.float32), draw.standard_normal((4, 512), np.float32)
    folder.mkdir()
    save_file({UP: W}, folder / "a.safetensors")
    save_file({UP: W + 0.01 * B @ A}, folder / "m.safetensors")
    name = f"base_model.model.{UP.removesuffix('.weight')}"
    save_file(
        {f"{name}.lora_A.weight": A, f"{name}.lora_B.weight": 0.01 * B},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 4}')
    return str(folder / "a.safetensors"), str(folder), str(folder / "m.safetensors")


@pytest.mark.parametrize(
    ("command", "size"),
    [
        (lambda base, tuned, lora: ftdiff.verify(*lora), "1 MB"),
        (lambda base, tuned, lora: ftdiff.merge_of(tuned, [tuned, base], base), "8 MB"),
        (lambda base, tuned, lora: ftdiff.parts.rows(base, tuned, UP), "500 kB"),
        (lambda base, tuned, lora: ftdiff.lineage(tuned, [base]), "1 MB"),
    ],
    ids=["verify", "merge_of", "rows", "lineage"],
)
def test_every_command_that_reads_refuses_less_than_one_window(
    wide: tuple[str, str], tmp_path: Path, command: Callable[..., object], size: str
) -> None:
    lora = _lora(tmp_path / "lora")
    with bounds.bounded(size), pytest.raises(BadCall) as refused:
        command(*wide, lora)
    assert f"--memory {size}: " in str(refused.value)
    assert " needs " in str(refused.value)
    with bounds.within(bounds.Bound(1000)):  # nobody asked
        command(*wide, lora)


def test_what_is_kept_of_all_pairs_is_a_part_of_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    names = [UP.replace("0", str(i)) for i in range(20)]
    save_file({name: np.ones((8, 8), np.float32) for name in names}, path)
    with bounds.bounded("1MB"), pytest.raises(BadCall) as refused:
        ftdiff.similarity([path] * 100, path)
    told = "--memory 1 MB: all that is kept of each pair needs 5 MB (pairs)"
    assert str(refused.value) == told
