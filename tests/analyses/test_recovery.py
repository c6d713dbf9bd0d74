from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import ftdiff
from ftdiff.cli import ftdiff as door
from ftdiff.errors import BadCall
from ftdiff.metrics.linalg.factors import error, fitted
from ftdiff.metrics.linalg.stored_change import Rounded, rounded
from ftdiff.metrics.linalg.tail import most, scaled_rank, tail
from tests.cases import situations
from tests.conftest import FIXTURES, write_model
from tests.formats.quantised_models import four_bits

BF16 = np.dtype(ml_dtypes.bfloat16)
#: The share of real matrices whose rank is right by themselves, before they agree on it.
RANK_FOUR = 0.85
BASE, LORA = FIXTURES / "base", FIXTURES / "lora"


def draw(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return (rng.normal(size=(rows, columns)) * 0.02).astype(BF16).astype(np.float64)


def merge(W: np.ndarray[Any, Any], L: np.ndarray[Any, Any], size: float) -> Rounded:
    """Return what bfloat16 stores of a change of this relative size."""
    L = L * (size * np.linalg.norm(W) / np.linalg.norm(L))
    return rounded(W, (W + L).astype(np.float32).astype(BF16), "BF16")


def first_layers(folder: Path, layers: int = 3) -> dict[str, torch.Tensor]:
    found = load_file(folder / "model.safetensors")
    kept = {f"model.layers.{i}." for i in range(layers)}
    return {n: t for n, t in found.items() if any(n.startswith(one) for one in kept)}


def off(adapter: Path, true: Path = LORA) -> list[float]:
    """Return by how much of its norm each recovered ΔW is off."""
    got, wanted = (load_file(one / "adapter_model.safetensors") for one in (adapter, true))
    scaling = json.loads((true / "adapter_config.json").read_text())["lora_alpha"] / 4
    found = []
    for key in got:
        if "lora_A" in key:
            other = key.replace("lora_A", "lora_B")
            L = scaling * wanted[other].double() @ wanted[key].double()
            M = got[other].double() @ got[key].double()
            found.append(float((M - L).norm() / L.norm()))
    return found


@pytest.mark.parametrize(("merged", "most"), [("merged", 0.003), ("merged_f32", 1e-5)])
def test_a_real_merge_gives_its_adapter_back(merged: str, most: float, tmp_path: Path) -> None:
    base, whole = (first_layers(FIXTURES / name) for name in ("base", merged))
    found = ftdiff.recover(base, whole, tmp_path / "a")
    assert (found.verdict, found.exit_code, found.about["rank"]) == ("lora", 0, 4)
    assert found.about["accepted"]
    moved = found.frame[found.frame["change"] != "same"]
    assert len(moved) == 21 and (moved["rank"] == 4).all()
    errors = off(tmp_path / "a")
    assert np.median(errors) <= most
    assert np.median(moved["error"]) == pytest.approx(np.median(errors), rel=0.8)
    if merged == "merged":
        assert moved["replay"].min() >= 0.95 and moved["replay"].mean() >= 0.99
    readme = (tmp_path / "a" / "README.md").read_text()
    assert "LoRA of rank 4 (21 of 21 moved matrices)" in readme and "A, B and α apart" in readme
    assert (
        "verify accepts it" in readme and f"{np.median(moved['error']):.2g} of its norm" in readme
    )


@pytest.mark.parametrize("merged", ["merged", "merged_f32"])
def test_the_rank_of_each_real_matrix_is_told(merged: str) -> None:
    base, whole = (load_file(FIXTURES / name / "model.safetensors") for name in ("base", merged))
    dtype = "BF16" if merged == "merged" else "F32"
    ranks = []
    for name, W in base.items():
        if W.ndim == 2 and not torch.equal(W.float(), whole[name].float()):
            M = whole[name].float().numpy().astype(BF16 if dtype == "BF16" else np.float32)
            ranks.append(tail(rounded(W.double().numpy(), M, dtype)).rank)
    assert len(ranks) == 196
    assert np.mean(np.array(ranks) == 4) >= RANK_FOUR and {*ranks} <= {4, 5}


@pytest.mark.parametrize(
    ("side", "rank"), [(256, 8), (256, 16), pytest.param(512, 64, id="512-64")]
)
@pytest.mark.parametrize("size", [3e-3, 1e-2])
def test_a_planted_rank_is_told(side: int, rank: int, size: float) -> None:
    rng = np.random.default_rng(rank)
    W = draw(side, side, rng)
    found = tail(merge(W, rng.normal(size=(side, rank)) @ rng.normal(size=(rank, side)), size))
    assert (found.rank, found.low, found.blurred) == (rank, True, False)


def test_weights_of_the_grid_tell_more_than_the_spectrum() -> None:
    rng = np.random.default_rng(2)
    W = draw(128, 128, rng)
    L = rng.normal(size=(128, 8)) @ rng.normal(size=(8, 128))
    L *= 1e-2 * np.linalg.norm(W) / np.linalg.norm(L)
    stored = rounded(W, (W + L).astype(np.float32).astype(BF16), "BF16")
    U, values, V = np.linalg.svd(stored.change)
    found = fitted(stored, 8)
    errors = [np.linalg.norm(X - L) / np.linalg.norm(L)
              for X in ((U[:, :8] * values[:8]) @ V[:8], found.B @ found.A)]  # fmt: skip
    assert errors[1] < 0.6 * errors[0]
    assert error(stored, W, found) == pytest.approx(errors[1], rel=0.4)


def test_a_dense_change_of_any_size_is_never_of_low_rank() -> None:
    rng = np.random.default_rng(5)
    shapes, spread = [(64, 64), (48, 96), (96, 48), (64, 64), (80, 80)], (0.0, 0.7, 1.0)
    verdicts = set()
    for i in range(12):
        base, tuned, size = {}, {}, 10 ** rng.uniform(-4, -0.7)
        for j, shape in enumerate(shapes):
            W, L = draw(*shape, rng), rng.normal(size=shape)
            L *= np.exp(spread[i % 3] * rng.normal(size=(shape[0], 1)))
            if i % 4 == 3:
                U, values, V = np.linalg.svd(L, full_matrices=False)
                L = (U * np.arange(1, len(values) + 1) ** -0.7) @ V
            L *= size * np.linalg.norm(W) / np.linalg.norm(L)
            base[f"layers.{j}.q_proj.weight"] = torch.tensor(W).bfloat16()
            tuned[f"layers.{j}.q_proj.weight"] = torch.tensor(W + L).bfloat16()
        verdicts.add(ftdiff.recover(base, tuned).verdict)
    assert verdicts == {"blurred", "not_low_rank"}


def test_a_dense_change_in_few_rows_has_no_gap_and_is_no_adapter() -> None:
    rng = np.random.default_rng(3)
    base, tuned = {}, {}
    for j in range(5):
        W, L = draw(64, 64, rng), rng.normal(size=(64, 64))
        L *= np.exp(rng.normal(size=(64, 1)))
        L *= 3.6e-3 * np.linalg.norm(W) / np.linalg.norm(L)
        base[f"layers.{j}.q_proj.weight"] = torch.tensor(W).bfloat16()
        tuned[f"layers.{j}.q_proj.weight"] = torch.tensor(W + L).bfloat16()
    found = ftdiff.recover(base, tuned)
    assert (found.frame["change"] == "low").sum() >= 4  # by their ranks alone
    assert found.verdict == "not_low_rank"


def test_an_entry_weighs_by_its_spacing() -> None:
    W = np.array([[0.75, 1.5], [3.0, 6.0]])
    M = (W + 0.125).astype(BF16)
    weights = rounded(W, M, "BF16").weights()
    assert (weights[0, 1] / weights).tolist() == [[0.25, 1.0], [4.0, 16.0]]


def dora(W: torch.Tensor, rank: int, seed: int) -> torch.Tensor:
    """Return what a DoRA of this rank makes of a weight, its magnitudes trained too."""
    at = torch.Generator().manual_seed(seed)
    A = torch.randn(rank, W.shape[1], generator=at) / 30
    B = torch.randn(W.shape[0], rank, generator=at) / 30
    V = W.float() + B @ A
    m = W.float().norm(dim=1) * (1 + 0.05 * torch.randn(len(W), generator=at))
    return m[:, None] * V / V.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_dora_is_told_by_a_scale_of_each_row(dtype: torch.dtype, tmp_path: Path) -> None:
    at = torch.Generator().manual_seed(1)
    names = [f"model.layers.{i}.self_attn.{p}_proj.weight" for i in range(2) for p in "qkvo"]
    base = {n: (torch.randn(48, 64, generator=at) / 20).to(dtype) for n in names}
    tuned = {n: dora(W, 4, i).to(dtype) for i, (n, W) in enumerate(base.items())}
    found = ftdiff.recover(base, tuned, tmp_path / "a")
    assert (found.verdict, found.about["rank"], found.about["accepted"]) == ("dora", 4, True)
    assert "looks like a merged DoRA of rank 4 (8 of 8 moved matrices)" in found.sentences[0]
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["use_dora"]


def test_a_full_fine_tune_is_no_adapter_and_nothing_is_written(tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        door, ["recover", str(BASE), str(FIXTURES / "full"), "-o", str(tmp_path / "a")]
    )
    assert ran.exit_code == 1 and not (tmp_path / "a").exists()
    assert "0 of 197 moved matrices are of low rank, rows scaled or not" in ran.output


def test_a_change_that_rounding_blurs_is_of_a_rank_at_least() -> None:
    rng = np.random.default_rng(4)
    base, tuned = {}, {}
    for i in range(4):
        W = draw(128, 128, rng)
        L = rng.normal(size=(128, 8)) @ rng.normal(size=(8, 128))
        L *= 1.5e-3 * np.linalg.norm(W) / np.linalg.norm(L)
        base[f"layers.{i}.q_proj.weight"] = torch.tensor(W).bfloat16()
        tuned[f"layers.{i}.q_proj.weight"] = torch.tensor(W + L).bfloat16()
    found = ftdiff.recover(base, tuned)
    assert (found.verdict, found.exit_code) == ("blurred", 1)
    assert 1 <= found.about["rank"] <= 8
    assert f"rank at least {found.about['rank']}" in found.sentences[0]
    assert found.findings()[0].rule == "recovery"


def test_what_did_not_move_is_said_to_be_so() -> None:
    found = ftdiff.recover(situations.state(), situations.state())
    assert (found.verdict, found.exit_code) == ("unmoved", 1)
    assert found.sentences == ("no matrix moved that an adapter of low rank changes",)


def test_rows_that_were_scaled_alone_are_no_adapter() -> None:
    at = torch.Generator().manual_seed(1)
    base = {f"layers.{i}.q_proj.weight": torch.randn(32, 48, generator=at) for i in range(4)}
    tuned = {n: W * (1 + 0.1 * torch.rand(32, 1, generator=at)) for n, W in base.items()}
    found = ftdiff.recover(base, tuned)
    assert found.verdict == "not_low_rank"
    assert "rows of the base were scaled, and nothing was added" in found.sentences[0]


def test_a_merge_onto_weights_that_the_base_has_rounded_is_said_to_be_one(tmp_path: Path) -> None:
    base = {n: W.half() for n, W in situations.state().items()}
    tuned = {n: W.half() for n, W in situations.merged().items()}
    found = ftdiff.recover(base, tuned, tmp_path / "a")
    assert (found.verdict, found.about["rank"]) == ("lora", 4)
    assert any("two roundings" in one for one in found.sentences)


def test_what_cannot_be_read_as_numbers_is_named() -> None:
    tuned = situations.merged()
    name = "model.layers.0.self_attn.q_proj.weight"
    tuned[name][0, 0] = float("nan")
    found = ftdiff.recover(situations.state(), tuned)
    row = found.frame.set_index("tensor").loc[name]
    assert (row["change"], row["said"]) == ("apart", "it has entries that are not finite")
    assert found.verdict == "lora" and any(name in one for one in found.sentences)


def test_ranks_that_differ_and_what_moved_beside_are_said(tmp_path: Path) -> None:
    lora = situations.factors()
    for key in lora:
        if "layers.1" in key and "q_proj" in key:
            lora[key] = lora[key][:2] if "lora_A" in key else lora[key][:, :2].contiguous()
    tuned: Mapping[str, torch.Tensor] = situations.merged(lora)
    tuned["model.norm.weight"].mul_(1.5)
    base = situations.write_base(tmp_path / "base")
    whole = write_model(tmp_path / "whole", tuned, config=situations.CONFIG)
    found = ftdiff.recover(base, whole, tmp_path / "a")
    assert (found.verdict, found.about["rank"]) == ("lora", 4)
    assert "ranks differ: 2 in 1, 4 in 11" in found.sentences
    beside = "1 tensor (model.norm.weight)"
    assert f"saved whole beside the factors, as modules_to_save: {beside}" in found.sentences
    assert found.about["accepted"] and found.exit_code == 0
    told = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    path = "model.layers.1.self_attn.q_proj"
    assert told["rank_pattern"] == told["alpha_pattern"] == {path: 2}
    assert told["target_modules"] == ["down_proj", "q_proj", "v_proj"]
    assert told["modules_to_save"] == ["model.norm"]


def test_what_moved_and_is_in_no_adapter_is_named(tmp_path: Path) -> None:
    base, tuned = situations.state(), situations.merged()
    at = torch.Generator().manual_seed(6)
    for state in (base, tuned):
        state["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(32)
        state["model.layers.0.mlp.experts.gate_up_proj"] = torch.ones(2, 8, 8)
    tuned["model.layers.0.self_attn.q_proj.bias"] = torch.randn(32, generator=at)
    tuned["model.layers.0.mlp.experts.gate_up_proj"] = 2 * torch.ones(2, 8, 8)
    found = ftdiff.recover(base, tuned, tmp_path / "a")
    assert found.verdict == "lora" and found.about["whole"] == []
    readme = (tmp_path / "a" / "README.md").read_text()
    for name in ("self_attn.q_proj.bias", "mlp.experts.gate_up_proj"):
        assert f"model.layers.0.{name}" in readme.split("not in the adapter: 2 tensors moved")[1]
    said = found.frame.set_index("tensor")["said"]
    assert "several matrices in one" in said["model.layers.0.mlp.experts.gate_up_proj"]


def test_an_interrupted_folder_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ftdiff.analyses.recovery.measure.verify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ftdiff.recover(situations.state(), situations.merged(), tmp_path / "a")
    assert [*tmp_path.iterdir()] == []


def large(rank: int, size: float, seed: int) -> tuple[Any, Any, Any]:
    """Return a base, what bfloat16 stores of a change that is held in float32, and the change."""
    rng = np.random.default_rng(seed)
    W = draw(600, 480, rng)
    L = rng.normal(size=(600, rank)) @ rng.normal(size=(rank, 480))
    L *= size * np.linalg.norm(W) / np.linalg.norm(L)
    return W, rounded(W, (W + L).astype(np.float32).astype(BF16), "BF16"), L


@pytest.mark.parametrize("size", [3e-3, 1e-2])
def test_a_large_matrix_tells_a_rank_of_sixty_four(size: float) -> None:
    seen = tail(large(64, size, 2)[1])
    assert (seen.rank, seen.low, seen.blurred) == (64, True, False)


@pytest.mark.parametrize(("rank", "size"), [(4, 3e-3), (16, 1e-2)])
def test_a_large_matrix_tells_its_rank_and_the_error_of_its_factors(rank: int, size: float) -> None:
    W, stored, L = large(rank, size, rank)
    seen = tail(stored)
    assert stored.is_large and (seen.rank, seen.low, seen.blurred) == (rank, True, False)
    exact = np.linalg.svd(stored.change.astype(np.float64), compute_uv=False)
    assert seen.squares[: rank + 1] == pytest.approx(
        np.cumsum(np.square(exact)[::-1])[::-1][: rank + 1], rel=1e-6
    )
    found = fitted(stored, rank)
    off = np.linalg.norm(found.B @ found.A - L) / np.linalg.norm(L)
    U, values, V = np.linalg.svd(stored.change, full_matrices=False)
    plain = np.linalg.norm((U[:, :rank] * values[:rank]) @ V[:rank] - L) / np.linalg.norm(L)
    assert off < 0.75 * plain and found.replay > 0.8
    assert error(stored, W, found) == pytest.approx(off, rel=0.3)


def test_a_large_matrix_takes_four_times_its_size_in_float32_and_what_a_run_takes() -> None:
    rng = np.random.default_rng(1)
    W = rng.standard_normal((1024, 2048), dtype=np.float32).astype(BF16)
    b, a = (rng.standard_normal(shape, dtype=np.float32) for shape in ((1024, 8), (8, 2048)))
    M = (W.astype(np.float32) + 0.004 * b @ a).astype(BF16)
    tracemalloc.start()
    stored = rounded(W, M, "BF16")
    assert tail(stored).rank == 8
    assert fitted(stored, 8).replay > 0.9
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 4 * W.size + (24 << 20)


def test_a_base_that_is_stored_quantised_is_dequantised(tmp_path: Path) -> None:
    at = torch.Generator().manual_seed(0)
    base, tuned = {}, {}
    for i in range(2):
        name = f"model.layers.{i}.self_attn.q_proj.weight"
        parts, values = four_bits("nf4")(name, torch.randn(64, 128, generator=at) / 50)
        L = torch.randn(64, 2, generator=at) @ torch.randn(2, 128, generator=at) / 2000
        base |= dict(parts)
        tuned[name] = (values.bfloat16().float() + L).bfloat16()
    found = ftdiff.recover(base, tuned, tmp_path / "a")
    assert (found.verdict, found.about["rank"], found.about["accepted"]) == ("lora", 2, True)
    assert "NF4" in found.sentences[-1]


def test_a_large_dense_change_is_not_low_and_a_corner_says_so() -> None:
    rng = np.random.default_rng(1)
    W = draw(600, 480, rng)
    for L in (rng.normal(size=(600, 480)), rng.normal(size=(600, 480)) * (rng.random(480) < 0.4)):
        seen = tail(merge(W, L, 1e-2))
        assert seen.rank > most(seen.shape) and not seen.low


def test_a_large_dora_is_told_and_fitted() -> None:
    at = torch.Generator().manual_seed(1)
    W = torch.randn(600, 480, generator=at) / 20
    M = dora(W, 4, 3).numpy()
    stored = rounded(W.numpy(), M, "F32")
    assert stored.is_large and not tail(stored).low
    assert scaled_rank(stored, W.numpy()) == 4
    found = fitted(stored, 4, W.numpy())
    assert found.scale is not None
    whole = found.scale[:, None] * W.double().numpy() + found.B @ found.A
    change = M.astype(np.float64) - W.double().numpy()
    assert np.linalg.norm(whole - M) < 1e-5 * np.linalg.norm(change)


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(BadCall, match="written to a new folder"):
        ftdiff.recover(situations.state(), situations.state(), tmp_path)


def test_an_adapter_in_the_place_of_a_model_is_one_line() -> None:
    with pytest.raises(BadCall):
        ftdiff.recover(BASE, LORA)
