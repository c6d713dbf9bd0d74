"""Tiny models, non-zero adapters on them, and what PEFT itself makes of both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from torch import nn

torch.set_num_threads(1)


def llama(*, bias: bool = False, seed: int = 0) -> nn.Module:
    """A Llama of two layers whose sides all differ; `bias` gives its projections biases."""
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=36,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=bias,
        mlp_bias=bias,
        tie_word_embeddings=False,
    )
    return _random(transformers.LlamaForCausalLM(config), seed)


def gpt2(*, seed: int = 0) -> nn.Module:
    """A GPT-2 of two layers, whose projections are `Conv1D`: stored in × out."""
    config = transformers.GPT2Config(vocab_size=40, n_positions=16, n_embd=24, n_layer=2, n_head=2)
    return _random(transformers.GPT2LMHeadModel(config), seed)


class Convolutions(nn.Module):
    """Convolutions of one, two and three dimensions, and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv1d(6, 8, 3)
        self.two = nn.Conv2d(8, 12, 3)
        self.point = nn.Conv2d(12, 8, 1)
        self.three = nn.Conv3d(4, 6, 2)
        self.norm = nn.GroupNorm(2, 8)


def convolutions(*, seed: int = 0) -> nn.Module:
    return _random(Convolutions(), seed)


def _random(model: nn.Module, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    return model.eval()


def save_adapter(
    model: nn.Module,
    config: Any,
    folder: Path,
    *,
    spread: float = 0.2,
    seed: int = 1,
    change: Callable[[nn.Module], None] | None = None,
) -> Path:
    """Save an adapter whose every trained number was moved at random; the model is not touched.

    `change` may do more to the adapted model before it is saved.
    """
    adapted = peft.get_peft_model(copy.deepcopy(model), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=spread)
        if change is not None:
            change(adapted)
    adapted.save_pretrained(str(folder))
    return folder


def merged(model: nn.Module, folder: Path) -> dict[str, np.ndarray]:
    """Return every tensor of PEFT's own merge of the whole model, read from the saved adapter."""
    adapted = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(folder)).eval()
    return state(adapted.merge_and_unload())


def state(model: nn.Module) -> dict[str, np.ndarray]:
    """Return a model's tensors by name."""
    return {name: np.array(tensor.numpy()) for name, tensor in model.state_dict().items()}
