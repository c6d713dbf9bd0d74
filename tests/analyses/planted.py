"""Merges with known faults: made by PEFT, or by torch arithmetic on the files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from tests.conftest import FIXTURES, write_model

State = dict[str, torch.Tensor]
BASE = FIXTURES / "base"


def weights(folder: Path) -> State:
    """Return every tensor of a folder."""
    return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def by_peft(
    adapter: Path,
    out: Path,
    dtype: torch.dtype,
    *,
    edit: Callable[[Any], None] | None = None,
    safe: bool = False,
) -> Path:
    """Merge with PEFT, after an edit of the loaded model."""
    model = PeftModel.from_pretrained(
        Qwen2ForCausalLM.from_pretrained(BASE, dtype=dtype), str(adapter)
    )
    if edit is not None:
        edit(model)
    model.merge_and_unload(safe_merge=safe).save_pretrained(out)
    return out


def rescale(rule: Callable[[float, int], float]) -> Callable[[Any], None]:
    """Return an edit that sets every layer's scale from its α and r."""

    def edit(model: Any) -> None:
        for module in model.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                alpha, rank = module.lora_alpha["default"], module.r["default"]
                module.scaling["default"] = rule(alpha, rank)

    return edit


def changes(adapter: Path) -> State:
    """Return ΔW of a LoRA folder by base tensor name, as PEFT multiplies it."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    state = weights(adapter)
    found = {}
    for key, A in state.items():
        if "lora_A" in key:
            B = state[key.replace("lora_A", "lora_B")]
            name = key.removeprefix("base_model.model.").replace(".lora_A", "")
            alpha = next(
                (v for k, v in config["alpha_pattern"].items() if f".{k}." in name),
                config["lora_alpha"],
            )
            root = len(A) ** 0.5 if config["use_rslora"] else len(A)
            found[name] = (B @ A) * (alpha / root)
    return found


def by_hand(
    adapter: Path, out: Path, dtype: torch.dtype, *, factor: float = 1.0, times: int = 1
) -> Path:
    """Add factor · ΔW to the base so many times, rounding to the dtype each time."""
    state = {name: W.to(dtype) for name, W in weights(BASE).items()}
    for name, dW in changes(adapter).items():
        for _ in range(times):
            state[name] = (state[name].float() + factor * dW).to(dtype)
    return write(out, state)


def write(out: Path, state: Mapping[str, torch.Tensor]) -> Path:
    """Write a model folder with the base's configuration."""
    return write_model(out, state, config=json.loads((BASE / "config.json").read_text()))


def adapter_like(source: Path, out: Path, state: State, **settings: Any) -> Path:
    """Write an adapter folder with another's configuration, some settings changed."""
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "adapter_config.json").read_text()) | settings
    (out / "adapter_config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in state.items()}, out / "adapter_model.safetensors")
    return out
