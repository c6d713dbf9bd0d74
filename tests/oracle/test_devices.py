"""Exact spectra on a device of torch's: the same numbers as NumPy's, and devices that are not."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.comparison import engine
from ftdiff.errors import BadCall, MissingExtra
from ftdiff.metrics import resolve
from ftdiff.metrics.linalg import devices
from ftdiff.metrics.linalg import svd as whole
from ftdiff.metrics.linalg.row_matrices import Held
from ftdiff.metrics.linalg.svd import singular_values
from ftdiff.reports.per_tensor import methods
from ftdiff.tensors import Array

SPECTRAL = [m.name for m in resolve(["spectral"])]


def _pair(*shape: int) -> tuple[dict[str, Array], dict[str, Array]]:
    draw = np.random.default_rng(0)
    W = draw.normal(size=shape)
    return {"w": W}, {"w": W + 0.01 * draw.normal(size=shape)}


@pytest.mark.parametrize("shape", [(560, 520), (520, 560), (530, 530)])
@pytest.mark.parametrize("block", [None, 1 << 16])
def test_a_device_gives_the_numbers_that_numpy_gives(
    shape: tuple[int, int], block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:
        monkeypatch.setattr(whole, "_BLOCK", block)
    M = Held(np.random.default_rng(1).normal(size=shape))
    near, bound, _ = singular_values(M)
    far, far_bound, method = singular_values(M, "cpu")
    assert method == "gram"
    assert far == pytest.approx(near, rel=1e-10, abs=1e-10 * near[0])
    assert far_bound == pytest.approx(bound, rel=1e-10)
    exact = torch.linalg.svdvals(torch.from_numpy(M.array)).numpy()
    assert far == pytest.approx(exact, rel=1e-10, abs=bound * exact[0])


def test_products_and_eigenvalues_are_torchs_where_a_device_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, tuned = _pair(520, 560)
    near = ftdiff.compare(base, tuned, ["spectral"])
    monkeypatch.setattr("ftdiff.metrics.linalg.devices.np.linalg.eigvalsh", pytest.fail)
    monkeypatch.setattr("ftdiff.comparison.engine.surveyed", lambda diff, *_: diff)  # by NumPy
    far = ftdiff.compare(base, tuned, ["spectral"], device="cpu")
    for name in SPECTRAL:
        here, there = (diff.frame[name].to_numpy(float, na_value=np.nan) for diff in (near, far))
        assert there == pytest.approx(here, rel=1e-10, nan_ok=True), name
    assert near.about["spectra"]["w"].keys() == {"method", "bound", "base_bound", "curve"}
    assert far.about["spectra"]["w"]["method"] == "gram"
    assert far.about["spectra"]["w"]["device"] == "cpu"
    assert methods(far).startswith("gram on cpu 1, ")
    assert methods(near).startswith("gram 1, ")


def test_what_a_device_did_not_do_is_not_said_of_it(fixtures: Path) -> None:
    pair = fixtures / "base", fixtures / "lora"
    found = ftdiff.compare(*pair, ["spectral"], device="cpu")
    assert {note["method"] for note in found.about["spectra"].values()} == {"factors"}
    assert not any("device" in note for note in found.about["spectra"].values())


def test_spectrum_drift_is_the_same_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    placed = devices.placed
    monkeypatch.setattr(
        whole, "placed", lambda M, device: (asked.append(device), placed(M, device))[1]
    )
    base, tuned = _pair(520, 515)
    near = ftdiff.compare(base, tuned, ["geometry"])
    assert {*asked} == {None}
    asked.clear()
    far = ftdiff.compare(base, tuned, ["geometry"], device="cpu")
    assert {*asked} == {"cpu"}
    for m in resolve(["geometry"]):
        here, there = (float(diff.frame[m.name].astype(float)[0]) for diff in (near, far))
        assert there == pytest.approx(here, rel=1e-9, abs=1e-12, nan_ok=True), m.name


def test_the_device_travels_to_other_processes() -> None:
    base, tuned = _pair(520, 515)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        far = ftdiff.compare(base, tuned, ["nuclear_norm"], processes, device="cpu")
        with pytest.raises(BadCall, match="torch sees no such device with float64"):
            ftdiff.compare(base, tuned, ["nuclear_norm"], processes, device="nonsense")
    assert far.about["spectra"]["w"]["device"] == "cpu"


def test_an_entry_that_is_not_finite_leaves_no_spectrum_on_a_device_either() -> None:
    for bad in (np.nan, np.inf):
        M = np.ones((520, 515))
        M[3, 4] = bad
        for device in (None, "cpu"):
            assert np.isnan(singular_values(Held(M), device)[0]).all()


ABSENT = ["nonsense", "cuda:x", "meta", "", "mps", "cuda:99", "a\nb"]


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_is_not_there_is_one_line_before_anything_is_measured(
    device: str, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "open_base", pytest.fail)
    with pytest.raises(BadCall) as caught:
        ftdiff.compare(fixtures / "base", fixtures / "full", ["spectral"], device=device)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--device ") and "it sees cpu" in str(caught.value)


def test_cuda_that_torch_does_not_see_is_one_line_in_the_shell(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: object) -> object:
        raise AssertionError("Torch not compiled with CUDA enabled\nat length")

    monkeypatch.setattr(devices, "placed", missing)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    args = ["compare", str(fixtures / "base"), str(fixtures / "full"), "-m", "spectral"]
    for more in (["--device", "cuda"], ["--device", "cuda", "-j", "1"]):
        done = CliRunner().invoke(door, [*args, *more])
        assert isinstance(done.exception, BadCall)
        assert str(done.exception) == (
            "--device cuda: torch sees no such device with float64; it sees cpu"
        )


def test_a_device_that_fails_at_work_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 1 GiB")

    monkeypatch.setattr(whole, "eigenvalues", full)
    base, tuned = _pair(520, 515)
    with pytest.raises(BadCall, match=r"^--device cpu: CUDA out of memory\.; fewer tensors") as e:
        ftdiff.compare(base, tuned, ["nuclear_norm"], device="cpu")
    assert "\n" not in str(e.value)


def test_without_torch_the_message_is_the_command_that_installs_it(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingExtra, match=r"--device cpu needs torch: pip install 'ftdiff\[gpu\]'"
    ):
        ftdiff.compare(fixtures / "base", fixtures / "full", device="cpu")


def test_the_shell_takes_the_device(fixtures: Path) -> None:
    args = ["compare", str(fixtures / "base"), str(fixtures / "lora"), "-m", "stable_rank"]
    assert CliRunner().invoke(door, [*args, "--device", "cpu"]).exit_code == 0
