"""`lora_bias` on layers without a bias: PEFT runs it and refuses to merge; it is no lost key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import ftdiff
from tests.conftest import write_model
from tests.oracle import models
from tests.oracle.agreement import loaded, merge_difference, save_adapter, save_base

SCALING = 5 / 2


@pytest.fixture
def model() -> nn.Module:
    return models.llama()


@pytest.fixture
def base(model: nn.Module, tmp_path: Path) -> Path:
    return save_base(model, tmp_path / "base")


@pytest.fixture
def adapter(model: nn.Module, tmp_path: Path) -> Path:
    config = peft.LoraConfig(
        r=2, lora_alpha=5, lora_bias=True, target_modules=["q_proj", "down_proj"]
    )
    return save_adapter(model, config, tmp_path / "lora")


def biases(adapter: Path) -> dict[str, np.ndarray]:
    """Return what PEFT adds to each layer's output, by what the layer's bias would be called."""
    found = load_file(adapter / "adapter_model.safetensors")
    ends = "base_model.model.", ".lora_B.bias"
    return {
        key.removeprefix(ends[0]).replace(ends[1], ".bias"): SCALING * b
        for key, b in found.items()
        if key.endswith(ends[1])
    }


def test_peft_runs_what_it_refuses_to_merge(model: nn.Module, adapter: Path) -> None:
    assert any("lora_B" in name for name, _ in loaded(model, adapter).named_modules())
    with pytest.raises(RuntimeError, match="has no bias"):
        merge_difference(model, adapter)


def test_every_key_is_read_and_the_biases_go_from_zero(base: Path, adapter: Path) -> None:
    diff = ftdiff.compare(base, adapter)
    assert diff.about["unmatched"] == {} and diff.about["coverage"] == 1.0
    assert diff.about["parts"]["read"] == diff.about["parts"]["given"]
    rows = {row["tensor"]: row for row in diff.frame.to_dict("records")}
    wanted = biases(adapter)
    added = {name for name, row in rows.items() if row["status"] == "added"}
    assert wanted and added == {*wanted}
    for name, b in wanted.items():
        assert rows[name]["tuned_sq"] == pytest.approx(float(np.sum(b * b, dtype=np.float64)))
        assert rows[name]["shape"] == b.shape


def test_an_audit_says_that_no_merge_holds_them(base: Path, adapter: Path) -> None:
    audit = ftdiff.audit(ftdiff.compare(base, adapter))
    said = {one.rule: one for one in audit.findings}
    assert audit.ok and "unmatched" not in said and "one-sided" not in said
    assert said["new-biases"].severity == "caution"
    assert {*said["new-biases"].evidence["tensors"]} == {*biases(adapter)}


def test_a_merge_without_them_is_not_the_whole_adapter(
    model: nn.Module, base: Path, adapter: Path, tmp_path: Path
) -> None:
    merged = {name: W.float().clone() for name, W in model.state_dict().items()}
    stored = load_file(adapter / "adapter_model.safetensors")
    held = {key: torch.from_numpy(tensor) for key, tensor in stored.items()}
    for key, A in held.items():
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix("base_model.model.").replace(".lora_A", "")
            merged[name] = merged[name] + SCALING * (held[key.replace("lora_A", "lora_B")] @ A)
    found = ftdiff.verify(base, adapter, write_model(tmp_path / "merged", merged))
    assert found.verdict == "unmatched"


def test_a_base_with_biases_has_none_that_are_new(tmp_path: Path) -> None:
    model = models.llama(bias=True)
    config = peft.LoraConfig(r=2, lora_bias=True, target_modules=["q_proj"])
    adapter = save_adapter(model, config, tmp_path / "lora")
    diff = ftdiff.compare(save_base(model, tmp_path / "base"), adapter)
    assert "added" not in {*diff.frame["status"]}
    assert "new-biases" not in {one.rule for one in ftdiff.audit(diff).findings}
