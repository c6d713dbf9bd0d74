"""Models of several towers, tiny but under their makers' own key names, and LoRAs on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

WIDTH, RANK = 16, 2

_TRANSFORMER = (
    *(f"attn1.to_{one}" for one in ("q", "k", "v", "out.0")),
    *(f"attn2.to_{one}" for one in ("q", "k", "v", "out.0")),
    *("ff.net.0.proj", "ff.net.2"),
)
_CLIP = (
    *(f"self_attn.{one}_proj" for one in ("q", "k", "v", "out")),
    *("mlp.fc1", "mlp.fc2"),
)
_LLAMA = (
    *(f"self_attn.{one}_proj" for one in "qkvo"),
    *(f"mlp.{one}_proj" for one in ("gate", "up", "down")),
)


def llama(layers: int = 16) -> list[str]:
    """Return the matrices of a language model."""
    return _each("model.layers", layers, _LLAMA)


def unet(depths: Mapping[str, Iterable[int]] | None = None) -> list[str]:
    """Return the transformer blocks of a UNet; by default those of Stable Diffusion 1.5.

    `depths` says how many there are in each attention of "down", "mid" and "up".
    """
    depths = depths or {"down": (1, 1, 1), "mid": (1,), "up": (0, 1, 1, 1)}
    found: list[str] = []
    for i, depth in enumerate(depths["down"]):
        for j in range(2 if depth else 0):
            found += _blocks(f"down_blocks.{i}.attentions.{j}", depth)
    found += _blocks("mid_block.attentions.0", next(iter(depths["mid"])))
    for i, depth in enumerate(depths["up"]):
        for j in range(3 if depth else 0):
            found += _blocks(f"up_blocks.{i}.attentions.{j}", depth)
    return found


def sdxl() -> list[str]:
    """Return the transformer blocks of a UNet as deep, in turn, as Stable Diffusion XL's."""
    return unet({"down": (0, 2, 4), "mid": (4,), "up": (4, 2)})


def flux(double: int = 6, single: int = 12) -> list[str]:
    """Return the matrices of a Flux transformer as diffusers names them."""
    stream = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj")
    both = [*(f"attn.{one}" for one in (*stream, "to_add_out"))]
    both += [f"{ff}.net.{n}" for ff in ("ff", "ff_context") for n in ("0.proj", "2")]
    alone = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out")
    return _each("transformer_blocks", double, both) + _each(
        "single_transformer_blocks", single, alone
    )


def flux_original(double: int = 6, single: int = 12) -> list[str]:
    """Return the matrices of a Flux transformer as its makers name them."""
    stream = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
    both = [f"{side}_{one}" for side in ("img", "txt") for one in stream]
    return _each("double_blocks", double, both) + _each(
        "single_blocks", single, ("linear1", "linear2")
    )


def vision_language(vision: int = 6, language: int = 10) -> list[str]:
    """Return the matrices of a vision-language model of LLaVA's build."""
    seeing = _each("vision_tower.vision_model.encoder.layers", vision, _CLIP)
    joining = [f"multi_modal_projector.linear_{n}" for n in (1, 2)]
    return seeing + joining + _each("language_model.model.layers", language, _LLAMA)


def text_encoders(first: int = 6, second: int = 10) -> list[str]:
    """Return the matrices of a pipeline's two text encoders."""
    layers = "text_model.encoder.layers"
    return _each(f"text_encoder.{layers}", first, _CLIP) + _each(
        f"text_encoder_2.{layers}", second, _CLIP
    )


def encoder_decoder(layers: int = 6) -> list[str]:
    """Return the matrices of a T5."""
    found: list[str] = []
    own, cross = ([f"{a}.{one}" for one in "qkvo"] for a in ("SelfAttention", "EncDecAttention"))
    feed = [f"DenseReluDense.{one}" for one in ("wi", "wo")]
    for i in range(layers):
        parts = {"encoder": (own, feed), "decoder": (own, cross, feed)}
        for tower, inside in parts.items():
            for n, modules in enumerate(inside):
                found += [f"{tower}.block.{i}.layer.{n}.{module}" for module in modules]
    return found


def weights(modules: Iterable[str], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a square matrix for each module."""
    draw = torch.Generator().manual_seed(seed)
    return {f"{one}.weight": torch.randn(WIDTH, WIDTH, generator=draw) / 4 for one in modules}


def lora(modules: Iterable[str], *, prefix: str = "", seed: int = 1) -> dict[str, torch.Tensor]:
    """Return a LoRA on each module under PEFT's keys; it grows with depth."""
    found: dict[str, torch.Tensor] = {}
    for key, (A, B) in _factors([*modules], seed).items():
        found[f"{prefix}{key}.lora_A.weight"] = A
        found[f"{prefix}{key}.lora_B.weight"] = B
    return found


def kohya(modules: Iterable[str], *, prefix: str = "lora_unet", seed: int = 1) -> dict[
    str, torch.Tensor
]:  # fmt: skip
    """Return a LoRA on each module under kohya's keys."""
    found: dict[str, torch.Tensor] = {}
    for key, (A, B) in _factors([*modules], seed).items():
        name = f"{prefix}_{key.replace('.', '_')}"
        found[f"{name}.lora_down.weight"], found[f"{name}.lora_up.weight"] = A, B
        found[f"{name}.alpha"] = torch.tensor(float(RANK))
    return found


def write_lora(folder: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Write a LoRA under PEFT's keys, scaled by 1."""
    write(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Write tensors as one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def moved(
    base: Mapping[str, torch.Tensor], *, seed: int = 2, still: str = "-"
) -> dict[str, torch.Tensor]:
    """Return a full fine-tune of a base; names that begin with `still` stay as they are."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: W if name.startswith(still) else W + (0.01 + 0.02 * n / len(base)) * torch.randn(
            W.shape, generator=draw
        )
        for n, (name, W) in enumerate(base.items())
    }  # fmt: skip


def _factors(modules: list[str], seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(RANK, WIDTH, generator=draw) / 4,
            torch.randn(WIDTH, RANK, generator=draw) * (0.05 + 0.1 * n / len(modules)),
        )
        for n, name in enumerate(modules)
    }


def _blocks(path: str, count: int) -> list[str]:
    return _each(f"{path}.transformer_blocks", count, _TRANSFORMER)


def _each(path: str, count: int, modules: Iterable[str]) -> list[str]:
    inside = [*modules]
    return [f"{path}.{i}.{module}" for i in range(count) for module in inside]
