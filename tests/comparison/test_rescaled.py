"""A tensor that was hardly more than rescaled is looked at again, and no other is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.comparison import rescaled
from ftdiff.comparison.plan import pair
from ftdiff.comparison.rescaled import refined
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import Array
from tests.conftest import llama, nudge

NAME = "model.layers.0.mlp.up_proj.weight"


def turned(W: Array, factor: float, rotation: float, seed: int = 1) -> Array:
    """Return W, rescaled, and turned by a sine."""
    N = np.random.default_rng(seed).normal(size=W.shape)
    N -= W * ((N * W).sum() / (W * W).sum())
    tangent = rotation / np.sqrt(1 - rotation**2)
    tilted: Array = factor * (W + tangent * N * (np.linalg.norm(W) / np.linalg.norm(N)))
    return tilted


def oracle(W: Array, W1: Array) -> tuple[float, float, float]:
    """Return c*, the sine and the angle in degrees, from extended precision."""
    w, w1 = W.astype(np.longdouble).ravel(), W1.astype(np.longdouble).ravel()
    factor = (w @ w1) / (w @ w)
    rest = w1 - factor * w
    beside, along = np.sqrt(rest @ rest), factor * np.sqrt(w @ w)
    angle = np.degrees(np.arctan2(beside, along))
    return float(factor), float(beside / np.sqrt(w1 @ w1)), float(angle)


@pytest.mark.parametrize("factor", [1.002, 1.37, 0.5, -1.0])
@pytest.mark.parametrize("rotation", [1e-7, 1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_turn_is_right_however_small_it_is_beside_the_rescaling(
    factor: float, rotation: float, dtype: str
) -> None:
    W = np.random.default_rng(0).normal(size=(300, 400)).astype(dtype)
    W1 = turned(W.astype("f8"), factor, rotation).astype(dtype)
    row = ftdiff.compare({NAME: W}, {NAME: W1}).frame.iloc[0]
    scale, sine, angle = oracle(W, W1)
    assert row["rotation"] == pytest.approx(sine, rel=1e-3)
    assert row["angle"] == pytest.approx(angle, rel=1e-3)
    assert 180 - row["angle"] == pytest.approx(180 - angle, rel=1e-3)
    assert row["scale"] == pytest.approx(scale, rel=1e-6)
    if dtype == "f8":
        assert row["rotation"] == pytest.approx(rotation, rel=1e-3)
    share = 1 - (sine / (scale - 1) * scale) ** 2 if abs(scale - 1) > 0.1 else row["scale_share"]
    assert row["scale_share"] == pytest.approx(share, abs=1e-7)


def test_a_power_of_two_and_a_flipped_sign_turn_nothing() -> None:
    W = llama()[NAME]
    for factor in (2.0, 0.5, -1.0):
        row = ftdiff.compare({NAME: W}, {NAME: factor * W}).frame.iloc[0]
        assert (row["rotation"], row["scale_share"], row["scale"]) == (0.0, 1.0, factor)
        assert (row["angle"], row["cosine"]) == ((0.0, 1.0) if factor > 0 else (180.0, -1.0))


@pytest.mark.parametrize("factors", [(1.37, 1.37), (1.37, 1.3700001), (1.37, 0.9), (1.37, 1.0)])
def test_a_group_is_what_one_tensor_of_all_its_entries_would_be(
    factors: tuple[float, float],
) -> None:
    draw = np.random.default_rng(3)
    W = {f"model.layers.0.mlp.{n}_proj.weight": draw.normal(size=(60, 80)) for n in ("up", "down")}
    W1 = {name: turned(one, c, 3e-7, 5) for (name, one), c in zip(W.items(), factors, strict=True)}
    # float32, whose sums carry what float64 does not
    W, W1 = ({name: one.astype("f4") for name, one in side.items()} for side in (W, W1))
    scale, sine, angle = oracle(np.stack([*W.values()]), np.stack([*W1.values()]))
    diff = ftdiff.compare(W, W1)
    group = diff.by("layer", metrics=("rotation", "angle", "scale")).iloc[0]
    assert diff.frame["turned_sq"].notna().sum() == sum(c != 1.0 for c in factors)
    assert group["rotation"] == pytest.approx(sine, rel=1e-3)
    assert group["angle"] == pytest.approx(angle, rel=1e-3)
    assert group["scale"] == pytest.approx(scale, rel=1e-6)


def test_a_product_of_factors_is_rescaled_as_well(tmp_path: Path) -> None:
    draw = np.random.default_rng(7)
    A, B = draw.normal(size=(4, 64)).astype("f4"), draw.normal(size=(48, 4)).astype("f4")
    ab = {f"base_model.model.{NAME[:-7]}.lora_A.weight": A}
    ab[f"base_model.model.{NAME[:-7]}.lora_B.weight"] = B
    dW = 2.0 * (B.astype("f8") @ A)
    W = turned(dW, 3.0, 1e-7)
    path = adapter(tmp_path, ab)
    row = ftdiff.compare({NAME: W}, path).frame.iloc[0]
    scale, sine, angle = oracle(W, W + dW)
    assert row["rotation"] == pytest.approx(sine, rel=1e-3)
    assert row["angle"] == pytest.approx(angle, rel=1e-3)
    assert row["scale"] == pytest.approx(scale, rel=1e-9)


def adapter(folder: Path, tensors: dict[str, Array]) -> Path:
    from safetensors.numpy import save_file

    (folder / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["up_proj"]}'
    )
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_nothing_else_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    first = rescaled._residual
    monkeypatch.setattr(
        rescaled, "_residual", lambda s: looked.append(s.change.address.name) or first(s)
    )
    base = {name: W.float() for name, W in llama().items()}
    tuned = nudge(base)
    ftdiff.compare(base, tuned)
    assert looked == []
    diff = ftdiff.compare(base, {**tuned, NAME: 1.5 * base[NAME]})
    assert looked == [NAME]
    assert [*diff.frame.loc[diff.frame["turned_sq"].notna(), "tensor"]] == [NAME]


def test_no_cut_and_no_worker_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(2)
    W = {f"model.layers.{i}.up_proj.weight": draw.normal(size=(1100, 900)) for i in range(2)}
    opened = open_checkpoint(W)
    fine = open_tuned({name: turned(one, 1.5, 1e-6) for name, one in W.items()}, opened)
    changes = pair(opened, fine).changes
    first = [change.recipe.moments(change.base) for change in changes]
    whole = refined(changes, first)
    monkeypatch.setattr(rescaled, "_TASK", 300_000)
    assert refined(changes, first) == whole
    with ThreadPoolExecutor(2) as threads:
        assert refined(changes, first, threads) == whole
    assert all(one.sums["turned_sq"][0] > 0 for one in whole if not isinstance(one, str))


def test_what_cannot_be_read_again_keeps_its_first_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_checkpoint({NAME: torch.ones(4, 4)})
    changes = pair(opened, open_tuned({NAME: 2 * torch.ones(4, 4)}, opened)).changes
    first = [*(change.recipe.moments(change.base) for change in changes)]
    assert refined(changes, first) != first

    def gone(span: object) -> None:
        raise MemoryError

    monkeypatch.setattr(rescaled, "_residual", gone)
    assert refined(changes, first) == first


def test_a_diff_saved_without_second_looks_loads(tmp_path: Path) -> None:
    import json

    path = ftdiff.compare({NAME: torch.ones(4, 4)}, {NAME: 2 * torch.ones(4, 4)}).save(
        tmp_path / "d.json"
    )
    document = json.loads(path.read_text())
    document["columns"].remove("turned_sq")
    for row in document["tensors"]:
        del row["turned_sq"]
    path.write_text(json.dumps(document))
    loaded = ftdiff.Diff.load(path)
    assert loaded.frame["turned_sq"].isna().all()
    assert loaded.overall["scale"] == pytest.approx(2)
