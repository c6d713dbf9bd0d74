"""Small stand-ins of well-known models, with the names of their modules, and fine-tunes of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

import ftdiff
from tests.conftest import FIXTURES

Weights = dict[str, NDArray[np.float32]]
_SIDE = 16
_DECODER = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_CLIP = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    *("mlp.fc1", "mlp.fc2"),
)
_DOUBLE = (
    *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    *("norm1.linear", "norm1_context.linear"),
)
_SINGLE = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "norm.linear")


@cache
def llama_lora() -> ftdiff.Diff:
    """Return a LoRA of 28 decoder layers."""
    return ftdiff.compare(FIXTURES / "base", FIXTURES / "lora")


def unet_lora(folder: Path) -> ftdiff.Diff:
    """Return a LoRA on a UNet's attention as diffusers saves it, without its base."""
    draw = np.random.default_rng(5)
    blocks = [f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)]
    blocks += ["mid_block.attentions.0"]
    blocks += [f"up_blocks.{i}.attentions.{j}" for i in range(1, 4) for j in range(3)]
    found: Weights = {}
    for at, block in enumerate(blocks):
        for attention in ("attn1", "attn2"):
            for name in ("to_q", "to_k", "to_v", "to_out.0"):
                path = f"unet.{block}.transformer_blocks.0.{attention}.{name}"
                size = (1 + np.sin(at / 3)) * (1.6 if attention == "attn2" else 1) / 90
                size *= 1.5 if name in ("to_v", "to_out.0") else 1
                _add_factors(found, path, size, draw)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(found, folder / "pytorch_lora_weights.safetensors")
    return ftdiff.compare(None, folder)


@cache
def flux_like() -> ftdiff.Diff:
    """Return a fine-tune of a transformer of 19 double and 38 single blocks."""
    names = _layers("transformer_blocks", 19, _DOUBLE)
    names += _layers("single_transformer_blocks", 38, _SINGLE)
    return _moved(names, seed=1, peak=0.7)


@cache
def vision_language() -> ftdiff.Diff:
    """Return a fine-tune of a vision tower of 24 layers and a language model of 32."""
    names = _layers("model.vision_tower.vision_model.encoder.layers", 24, _CLIP)
    names += ["model.multi_modal_projector.linear_1", "model.multi_modal_projector.linear_2"]
    names += _layers("model.language_model.layers", 32, _DECODER)
    return _moved(names, seed=2, peak=0.4)


def _layers(stack: str, count: int, parts: Sequence[str]) -> list[str]:
    return [f"{stack}.{i}.{part}" for i in range(count) for part in parts]


def _moved(names: Sequence[str], *, seed: int, peak: float) -> ftdiff.Diff:
    """Move each matrix by noise whose size has a bump along the list, and a factor by its part."""
    draw = np.random.default_rng(seed)
    kinds = sorted({name.rpartition(".")[2] for name in names})
    factor = dict(zip(kinds, draw.uniform(0.7, 1.4, len(kinds)), strict=True))
    base: Weights = {}
    tuned: Weights = {}
    for at, name in enumerate(names):
        W = draw.normal(size=(_SIDE, _SIDE)).astype(np.float32)
        size = 0.02 + 0.05 * np.exp(-(((at / len(names) - peak) / 0.2) ** 2))
        size *= factor[name.rpartition(".")[2]] * draw.uniform(0.9, 1.1)
        base[f"{name}.weight"] = W
        tuned[f"{name}.weight"] = (W + size * draw.normal(size=W.shape)).astype(np.float32)
    return named(ftdiff.compare(base, tuned), "org/base", "org/tuned")


def named(diff: ftdiff.Diff, base: str, tuned: str) -> ftdiff.Diff:
    """Return the same with other names of its sides."""
    return ftdiff.Diff(diff.data, {**diff.about, "base": base, "tuned": tuned})


def _add_factors(
    found: Weights, path: str, size: float, draw: np.random.Generator, rank: int = 4
) -> None:
    found[f"{path}.lora_A.weight"] = draw.normal(size=(rank, _SIDE)).astype(np.float32)
    found[f"{path}.lora_B.weight"] = (size * draw.normal(size=(_SIDE, rank))).astype(np.float32)
