"""Tiny models, non-zero adapters on them, and what PEFT itself makes of both."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from safetensors.torch import save_file
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


def gpt2(*, seed: int = 0, tied: bool = True) -> nn.Module:
    """A GPT-2 of two layers, whose projections are `Conv1D`: stored in × out."""
    config = transformers.GPT2Config(
        vocab_size=40, n_positions=16, n_embd=24, n_layer=2, n_head=2, tie_word_embeddings=tied
    )
    return _random(transformers.GPT2LMHeadModel(config), seed)


def mixtral(*, seed: int = 0) -> nn.Module:
    """A Mixtral of two layers, whose three experts are stacked out × in."""
    config = transformers.MixtralConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=3,
    )
    return _random(transformers.MixtralForCausalLM(config), seed)


def gpt_oss(*, intermediate: int = 12, seed: int = 0) -> nn.Module:
    """A gpt-oss of two layers, whose three experts are stacked in × out."""
    config = transformers.GptOssConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=intermediate,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_local_experts=3,
        num_experts_per_tok=2,
    )
    return _random(transformers.GptOssForCausalLM(config), seed)


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
    torch.manual_seed(seed)
    with _quiet(), torch.no_grad():
        adapted = peft.get_peft_model(copy.deepcopy(model), config)
        for parameter in adapted.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=spread)
        if change is not None:
            change(adapted)
        adapted.save_pretrained(str(folder))
    return folder


def save_model(model: nn.Module, folder: Path) -> Path:
    """Save a model as its library does; a plain module's tensors by themselves."""
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
    else:
        save_file(model.state_dict(), folder / "model.safetensors")
    return folder


def merged(model: nn.Module, folder: Path) -> dict[str, np.ndarray]:
    """Return every tensor of PEFT's own merge of the whole model, read from the saved adapter."""
    with _quiet():
        adapted = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(folder)).eval()
        return state(adapted.merge_and_unload())


@contextmanager
def _quiet() -> Iterator[None]:
    """Let PEFT say what it likes: its warnings are not about our code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def state(model: nn.Module) -> dict[str, np.ndarray]:
    """Return a model's tensors by name."""
    return {name: np.array(tensor.numpy()) for name, tensor in model.state_dict().items()}


def saved_and_held(model: Any, folder: Path) -> tuple[Path, Path]:
    """Write a model of transformers' as the library saves it, and as it holds it in memory."""
    model.save_pretrained(folder / "saved")
    held = folder / "held"
    held.mkdir()
    state = {name: W.clone().contiguous() for name, W in model.state_dict().items()}
    save_file(state, held / "model.safetensors")
    (held / "config.json").write_text((folder / "saved" / "config.json").read_text())
    return folder / "saved", held
