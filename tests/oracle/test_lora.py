"""Every LoRA that PEFT merges: ΔW, its norm, inner product and spectrum equal the merge's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from ftdiff.formats.note import Note
from tests.oracle import models
from tests.oracle.agreement import (
    assert_agrees,
    merge_difference,
    save_adapter,
    save_base,
)

ATTENTION = ["q_proj", "v_proj"]


@dataclass(frozen=True)
class Case:
    """A configuration: the model, and what `LoraConfig` is given."""

    model: Callable[[], nn.Module]
    options: dict[str, Any] = field(default_factory=dict)
    change: Callable[[nn.Module], None] | None = None


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 5)


def attention() -> nn.Module:
    torch.manual_seed(3)
    return Attention().eval()


def resize_rows(model: nn.Module) -> None:
    """Move the saved copy of the embedding away from the base's."""
    for name, tensor in model.named_parameters():
        if name.endswith("embed_tokens.base_layer.weight"):
            tensor.add_(0.01)


CASES = {
    "plain": Case(models.llama, {"r": 3, "lora_alpha": 7, "target_modules": ATTENTION}),
    "all linear": Case(models.llama, {"r": 2, "lora_alpha": 3, "target_modules": "all-linear"}),
    "rank above a side": Case(
        models.llama, {"r": 40, "lora_alpha": 9, "target_modules": ["k_proj"]}
    ),
    "rsLoRA": Case(
        models.llama, {"r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": ATTENTION}
    ),
    "patterns": Case(
        models.llama,
        {
            "r": 4,
            "lora_alpha": 6,
            "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj"],
            "rank_pattern": {"q_proj": 2, r"layers\.1\.self_attn\.v_proj": 5, "^proj": 9},
            "alpha_pattern": {
                "layers.0.self_attn.q_proj": 11,
                "v_proj": 3,
                "q_proj": 1,
                "proj": 99,
            },
        },
    ),
    "rsLoRA with patterns": Case(
        models.llama,
        {
            "r": 4,
            "lora_alpha": 6,
            "use_rslora": True,
            "target_modules": ATTENTION,
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"v_proj": 3},
        },
    ),
    "Conv1D": Case(
        models.gpt2,
        {
            "r": 3,
            "lora_alpha": 5,
            "fan_in_fan_out": True,
            "target_modules": ["c_attn", "c_proj", "c_fc"],
        },
    ),
    "Conv1D whose flag the last module cleared": Case(
        lambda: models.gpt2(tied=False),
        {
            "r": 3,
            "lora_alpha": 5,
            "fan_in_fan_out": True,
            "target_modules": ["c_attn", "c_proj", "lm_head"],
        },
    ),
    "embedding": Case(models.llama, {"r": 3, "lora_alpha": 5, "target_modules": ["embed_tokens"]}),
    "embedding and head": Case(
        models.llama, {"r": 3, "target_modules": ["embed_tokens", "lm_head", "q_proj"]}
    ),
    "embedding whose copy is not the base": Case(
        models.llama, {"r": 3, "target_modules": ["embed_tokens"]}, resize_rows
    ),
    "convolutions": Case(
        models.convolutions, {"r": 3, "target_modules": ["one", "two", "point", "three"]}
    ),
    "convolutions with rsLoRA and bias": Case(
        models.convolutions,
        {"r": 3, "use_rslora": True, "lora_bias": True, "target_modules": ["one", "two", "point"]},
    ),
    "factors with a bias": Case(
        lambda: models.llama(bias=True), {"r": 3, "lora_bias": True, "target_modules": ATTENTION}
    ),
    "all biases": Case(
        lambda: models.llama(bias=True), {"r": 3, "bias": "all", "target_modules": ATTENTION}
    ),
    "biases of targets": Case(
        lambda: models.llama(bias=True), {"r": 3, "bias": "lora_only", "target_modules": ATTENTION}
    ),
    "factors with a bias, and all biases": Case(
        lambda: models.llama(bias=True),
        {"r": 3, "bias": "all", "lora_bias": True, "target_modules": ATTENTION},
    ),
    "modules to save": Case(
        models.llama, {"r": 3, "target_modules": ATTENTION, "modules_to_save": ["lm_head", "norm"]}
    ),
    "trained tokens": Case(
        models.llama, {"r": 3, "target_modules": ATTENTION, "trainable_token_indices": [5, 0, 39]}
    ),
    "trained tokens by module": Case(
        models.llama,
        {"r": 3, "target_modules": ATTENTION, "trainable_token_indices": {"embed_tokens": [7, 3]}},
    ),
    "multi-head attention": Case(
        attention, {"r": 3, "lora_alpha": 5, "target_modules": ["attn", "head"]}
    ),
    "orthogonal start": Case(
        models.llama, {"r": 4, "init_lora_weights": "orthogonal", "target_modules": ATTENTION}
    ),
    "minor components": Case(
        models.llama, {"r": 4, "init_lora_weights": "mica", "target_modules": ATTENTION}
    ),
    "block diagonal": Case(
        models.llama,
        {
            "r": 4,
            "target_modules": ["q_proj", "o_proj", "up_proj"],
            "use_bdlora": peft.BdLoraConfig(
                target_modules_bd_a=["o_proj"],
                target_modules_bd_b=["q_proj"],
                nblocks=2,
                match_strict=False,
            ),
        },
    ),
    "compressed activations": Case(
        models.llama,
        {"r": 4, "target_modules": ATTENTION, "velora_config": peft.VeloraConfig()},
    ),
    "Monte-Carlo": Case(
        models.llama,
        {
            "r": 4,
            "target_modules": ATTENTION,
            "monteclora_config": peft.MontecloraConfig(num_samples=2),
        },
    ),
    "experts": Case(
        models.mixtral,
        {
            "r": 2,
            "lora_alpha": 5,
            "target_modules": ATTENTION,
            "target_parameters": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"],
        },
    ),
    "one parameter of the experts": Case(
        models.mixtral,
        {"r": 2, "lora_alpha": 5, "target_modules": [], "target_parameters": ["experts.down_proj"]},
    ),
    "experts with rsLoRA and patterns": Case(
        models.mixtral,
        {
            "r": 2,
            "use_rslora": True,
            "target_modules": [],
            "target_parameters": ["experts.down_proj", "experts.gate_up_proj"],
            "rank_pattern": {"experts.down_proj": 3},
            "alpha_pattern": {"gate_up_proj": 11},
        },
    ),
    "transposed experts": Case(
        models.gpt_oss,
        {
            "r": 2,
            "target_modules": [],
            "target_parameters": ["experts.gate_up_proj", "experts.down_proj"],
        },
    ),
    "square transposed experts": Case(
        lambda: models.gpt_oss(intermediate=16),
        {"r": 2, "target_modules": [], "target_parameters": ["experts.down_proj"]},
    ),
    "a parameter of two sides": Case(
        models.llama, {"r": 2, "target_modules": [], "target_parameters": ["q_proj.weight"]}
    ),
}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Case], tuple[nn.Module, Path, Path]]:
    def saved(case: Case) -> tuple[nn.Module, Path, Path]:
        model = case.model()
        base = save_base(model, tmp_path / "base")
        config = peft.LoraConfig(**case.options)
        return model, base, save_adapter(model, config, tmp_path / "adapter", change=case.change)

    return saved


@pytest.mark.parametrize("name", CASES)
def test_change_is_that_of_the_merge(name: str, save: Any) -> None:
    model, base, adapter = save(CASES[name])
    tuned = assert_agrees(base, adapter, merge_difference(model, adapter))
    codes = [note.code for note in tuned.notes if isinstance(note, Note)]
    assert ("added-twice" in codes) == (name == "multi-head attention")
