"""Cosines of every pair of kinds are those of the differences that PEFT's own merges make."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.analyses.similarity import Similarity
from tests.conftest import write_model
from tests.oracle import agreement, models

TARGETS = ["q_proj", "v_proj", "down_proj"]
CONFIGS: dict[str, Any] = {
    "lora": peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS),
    "rslora": peft.LoraConfig(r=2, use_rslora=True, target_modules=["q_proj", "up_proj"]),
    "dora": peft.LoraConfig(r=3, use_dora=True, target_modules=TARGETS),
    "loha": peft.LoHaConfig(r=2, alpha=3, target_modules=TARGETS),
    "lokr": peft.LoKrConfig(r=2, alpha=3, decompose_factor=4, target_modules=TARGETS),
    "lokr_again": peft.LoKrConfig(r=1, decompose_factor=4, target_modules=TARGETS),
    "ia3": peft.IA3Config(target_modules=TARGETS, feedforward_modules=["down_proj"]),
    "vera": peft.VeraConfig(r=8, save_projection=True, target_modules=["q_proj"]),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], Any]:
    """A base, an adapter of each kind and a full fine-tune; and all changes, flat in float64."""
    folder = tmp_path_factory.mktemp("likeness")
    model = models.llama()
    base = agreement.save_base(model, folder / "base")
    names = [*model.state_dict()]
    paths, flat = {}, {}
    for name, config in CONFIGS.items():
        paths[name] = agreement.save_adapter(model, config, folder / name)
        found = agreement.merge_difference(model, paths[name])
        flat[name] = np.concatenate([found[key].ravel() for key in names])
    draw = torch.Generator().manual_seed(3)
    tuned = {
        k: t + 0.01 * torch.randn(t.shape, generator=draw) for k, t in model.state_dict().items()
    }
    paths["full"] = write_model(folder / "full", tuned)
    flat["full"] = np.concatenate(
        [(tuned[key].double() - model.state_dict()[key].double()).numpy().ravel() for key in names]
    )
    return base, paths, flat


def gram(found: Similarity) -> Any:
    return found.sums["inner"].sum(axis=0)


def test_every_pair_of_kinds_has_the_cosine_of_pefts_merges(shelf: Any) -> None:
    base, paths, flat = shelf
    found = ftdiff.similarity([*paths.values()], base)
    D = np.stack([flat[name] for name in found.names])
    want = D @ D.T
    scale = np.sqrt(np.outer(want.diagonal(), want.diagonal()))
    assert found.names == tuple(paths)
    assert (gram(found) - want) / scale == pytest.approx(0, abs=3e-6)
    assert found.matrix.to_numpy() == pytest.approx(want / scale, abs=3e-6)


@pytest.mark.parametrize("pair", [("lora", "rslora"), ("lora", "loha"), ("lokr", "lokr_again")])
def test_changes_with_factors_need_no_base_and_agree_closely(shelf: Any, pair: Any) -> None:
    base, paths, flat = shelf
    found = ftdiff.similarity([paths[name] for name in pair])
    D = np.stack([flat[name] for name in pair])
    assert gram(found) == pytest.approx(D @ D.T, rel=1e-5)
    beside = ftdiff.similarity([paths[name] for name in pair], base)
    assert gram(beside) == pytest.approx(gram(found), rel=1e-12)


def test_what_depends_on_the_base_says_so_without_one(shelf: Any) -> None:
    _, paths, _ = shelf
    found = ftdiff.similarity([paths["lora"], paths["dora"]])
    assert {"dora"} == {*found.about["unreadable"]}
    assert "give the base" in next(iter(found.about["unreadable"]["dora"].values()))
    assert found.findings()[0].rule == "unreadable"


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_turning_the_factors_of_an_adapter_changes_nothing(shelf: Any, seed: int) -> None:
    _, paths, _ = shelf
    M = np.random.default_rng(seed).normal(size=(4, 4))
    opened = ftdiff.open_checkpoint(paths["lora"] / "adapter_model.safetensors")
    state = {name: tensor.read().astype(np.float64) for name, tensor in opened.tensors.items()}
    turned = {
        name: torch.from_numpy(np.linalg.inv(M) @ X if ".lora_A." in name else X @ M).float()
        for name, X in state.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        there = write_model(Path(folder) / "turned", turned)
        (there / "model.safetensors").rename(there / "adapter_model.safetensors")
        shutil.copy(paths["lora"] / "adapter_config.json", there)
        found = ftdiff.similarity([paths["lora"], there, paths["rslora"]])
    cosine = found.matrix.to_numpy()
    assert cosine[0, 1] == pytest.approx(1, abs=1e-6)
    assert cosine[0, 2] == pytest.approx(cosine[1, 2], abs=1e-5)
    assert [one.rule for one in found.findings() if one.rule == "duplicate"] == ["duplicate"]


def test_leading_directions_overlap_as_torch_has_it(shelf: Any) -> None:
    base, paths, _ = shelf
    found = ftdiff.similarity([paths["lora"], paths["full"]], base, ["subspaces"])
    model = models.llama()
    name = "model.layers.1.self_attn.q_proj.weight"
    changes = [agreement.merge_difference(model, paths["lora"])[name]]
    tuned = ftdiff.open_checkpoint(paths["full"]).tensors[name].read().astype(np.float64)
    changes.append(tuned - model.state_dict()[name].double().numpy())
    spaces = [torch.linalg.svd(torch.from_numpy(dW), full_matrices=False) for dW in changes]
    U, V = spaces[0].U[:, :4], spaces[1].U[:, :10]
    cosines = torch.linalg.svdvals(U.T @ V)
    row = found.by("tensor").set_index("tensor").loc[name]
    assert row["left_overlap"] == pytest.approx(float(cosines.square().sum() / 4), rel=1e-5)
    assert row["left_angle"] == pytest.approx(float(torch.rad2deg(cosines[0].acos())), rel=1e-4)
    assert row["left_overlap_null"] == pytest.approx(10 / 24)
    right = torch.linalg.svdvals(spaces[0].Vh[:4] @ spaces[1].Vh[:10].T)
    assert row["right_overlap"] == pytest.approx(float(right.square().sum() / 4), rel=1e-5)
