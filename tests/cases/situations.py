"""A small Llama, a LoRA on it and their merge: what the situations are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.conftest import llama, write_model

LAYERS, HIDDEN, VOCAB = 4, 32, 64
TARGETS = ("q_proj", "v_proj", "down_proj")
RANK, ALPHA = 4, 8
CONFIG: Mapping[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "tie_word_embeddings": False,
}


def state() -> dict[str, torch.Tensor]:
    """Return the base's weights, in float32."""
    return llama(layers=LAYERS, hidden=HIDDEN, vocab=VOCAB, dtype=torch.float32)


def write_base(folder: Path, **config: Any) -> Path:
    """Write the base as a model folder; keywords change its configuration."""
    return write_model(folder, state(), config={**CONFIG, **config})


def factors(*, seed: int = 3, targets: Sequence[str] = TARGETS) -> dict[str, torch.Tensor]:
    """Return a LoRA's tensors under PEFT's keys: rank 4 on every layer's q, v and down."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, W in state().items():
        path = name.removesuffix(".weight")
        if path.rpartition(".")[2] in targets:
            at = f"base_model.model.{path}"
            found[f"{at}.lora_A.weight"] = torch.randn(RANK, W.shape[1], generator=draw) / 8
            found[f"{at}.lora_B.weight"] = torch.randn(W.shape[0], RANK, generator=draw) / 80
    return found


def adapter_config(**config: Any) -> dict[str, Any]:
    """Return the LoRA's configuration; keywords change it."""
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA}
    return {**told, "target_modules": [*TARGETS], "bias": "none", **config}


def write_lora(
    folder: Path, tensors: Mapping[str, torch.Tensor] | None = None, **config: Any
) -> Path:
    """Write a PEFT adapter folder: the LoRA above, or other tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    held = factors() if tensors is None else tensors
    save_file({k: t.contiguous() for k, t in held.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(adapter_config(**config)))
    return folder


def merged(lora: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Return the base's weights with the LoRA added."""
    lora = factors() if lora is None else lora
    found = state()
    for key, A in lora.items():
        if key.endswith(".lora_A.weight"):
            B = lora[key.replace("lora_A", "lora_B")]
            name = key.removeprefix("base_model.model.").replace(".lora_A", "")
            found[name] = found[name] + ALPHA / RANK * B @ A
    return found


def relative_norm(base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor]) -> float:
    """Return ‖ΔW‖/‖W‖ over the matrices that moved, in float64."""
    moved = [n for n, W in base.items() if n in tuned and W.dim() > 1 and not W.equal(tuned[n])]
    change = sum(float((tuned[n].double() - base[n].double()).square().sum()) for n in moved)
    whole = sum(float(base[n].double().square().sum()) for n in moved)
    return (change / whole) ** 0.5


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the only safetensors file in a folder."""
    (file,) = folder.glob("*.safetensors")
    return load_file(file)
