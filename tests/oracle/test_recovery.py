"""A recovered adapter is loaded by peft, and gives the merged model's logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

import ftdiff
from tests.oracle import models


def trained(model: nn.Module, size: float, **options: Any) -> Any:
    """Return the model with a LoRA whose factors are drawn at random."""
    config = peft.LoraConfig(r=2, lora_alpha=3, task_type="CAUSAL_LM", **options)
    tuned = peft.get_peft_model(copy.deepcopy(model), config)
    draw = torch.Generator().manual_seed(3)
    for name, W in tuned.named_parameters():
        if "modules_to_save" in name:
            W.data += 0.1 * torch.randn(W.shape, generator=draw)
        elif "lora_" in name and "magnitude" not in name:
            W.data = size * torch.randn(W.shape, generator=draw)
        elif "magnitude" in name:
            W.data *= 1 + 0.05 * torch.randn(W.shape, generator=draw)
    return tuned.eval()


def logits(model: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tokens = torch.arange(24).reshape(2, 12) % 40
    with torch.no_grad():
        return copy.deepcopy(model).to(dtype)(tokens).logits.double()


LINEAR = {"target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "lora": (models.llama, LINEAR),
    "rank pattern": (models.llama, {**LINEAR, "rank_pattern": {"up_proj": 3}}),
    "dora": (models.llama, {**LINEAR, "use_dora": True}),
    "embedding": (models.llama, {"target_modules": ["embed_tokens", "q_proj", "up_proj"]}),
    "norms beside": (models.llama, {**LINEAR, "modules_to_save": ["norm", "input_layernorm"]}),
    "a head beside": (models.llama, {**LINEAR, "modules_to_save": ["lm_head"]}),
    "in × out": (models.gpt2, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peft_loads_what_was_recovered(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    build, options = CASES[name]
    model = build().to(dtype)
    tuned = trained(model.float(), 0.3, **options)
    model = model.to(dtype)
    merged = copy.deepcopy(tuned).merge_and_unload().to(dtype)
    for one, where in ((model, "base"), (merged, "merged")):
        one.save_pretrained(tmp_path / where)
    found = ftdiff.recover(tmp_path / "base", tmp_path / "merged", tmp_path / "a")
    assert (found.verdict, found.about["rank"]) == ("dora" if name == "dora" else "lora", 2)
    assert found.about["accepted"], found.sentences
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model).float(), tmp_path / "a").eval()
    true, stored = logits(tuned), logits(merged)
    rounding = (stored - true).abs().max() + 1e-5 * true.abs().max()
    assert (logits(loaded) - true).abs().max() <= 2 * rounding
    assert (true - logits(model)).abs().max() > 5 * rounding


class Kernels(nn.Module):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(12, 24, 3, padding=1)
        self.conv2 = nn.Conv2d(24, 16, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(images).tanh())  # type: ignore[no-any-return]


def test_peft_loads_recovered_kernels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Kernels()
    config = peft.LoraConfig(r=2, target_modules=["conv1", "conv2"])
    tuned = peft.get_peft_model(copy.deepcopy(model), config)
    for name, W in tuned.named_parameters():
        if "lora_" in name:
            W.data = 0.2 * torch.randn(W.shape)
    merged = copy.deepcopy(tuned).merge_and_unload()
    found = ftdiff.recover(model.state_dict(), merged.state_dict(), tmp_path / "a")
    assert (found.verdict, found.about["rank"], found.about["accepted"]) == ("lora", 2, True)
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(tmp_path / "a")).eval()
    images = torch.randn(2, 12, 8, 8)
    with torch.no_grad():
        assert torch.allclose(loaded(images), merged(images), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(loaded(images), model(images), rtol=1e-2, atol=1e-3)
