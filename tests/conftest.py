"""Small models written by other people's code, for every room's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from safetensors.torch import save_file

FIXTURES = Path(__file__).parent.parent / "fixtures"

torch.set_num_threads(1)

#: The same examples at every run; `--hypothesis-profile=explore` draws new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("same")


@pytest.fixture
def fixtures() -> Path:
    """The models that `fixtures/make.py` trained."""
    return FIXTURES


def write_model(
    folder: Path,
    state: Mapping[str, torch.Tensor],
    *,
    shards: int = 1,
    config: Mapping[str, object] | None = None,
) -> Path:
    """Write a state dict as a model folder, in one file or in shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in state.items()}
    if shards == 1:
        save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        weight_map = {}
        for i in range(shards):
            name = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
            part = {key: whole[key] for j, key in enumerate(whole) if j % shards == i}
            save_file(part, folder / name, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, name)
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def llama(
    *, layers: int = 3, hidden: int = 16, vocab: int = 24, dtype: torch.dtype = torch.bfloat16
) -> dict[str, torch.Tensor]:
    """Return a Llama-shaped state dict of seeded random weights."""
    draw = torch.Generator().manual_seed(7)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=draw) * 0.05).to(dtype)

    state = {"model.embed_tokens.weight": random(vocab, hidden)}
    for i in range(layers):
        at = f"model.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            state[f"{at}self_attn.{name}.weight"] = random(hidden, hidden)
        for name in ("gate_proj", "up_proj"):
            state[f"{at}mlp.{name}.weight"] = random(2 * hidden, hidden)
        state[f"{at}mlp.down_proj.weight"] = random(hidden, 2 * hidden)
        state[f"{at}input_layernorm.weight"] = 1 + random(hidden)
        state[f"{at}post_attention_layernorm.weight"] = 1 + random(hidden)
    state["model.norm.weight"] = 1 + random(hidden)
    state["lm_head.weight"] = random(vocab, hidden)
    return state


def nudge(
    state: Mapping[str, torch.Tensor], *, by: float = 0.1, seed: int = 1
) -> dict[str, torch.Tensor]:
    """Return a fine-tune of a state dict: every float tensor moved at random, same dtypes."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (t + by * 0.05 * torch.randn(t.shape, generator=draw)).to(t.dtype)
        if t.is_floating_point()
        else t
        for name, t in state.items()
    }


def relative_norm(base: torch.Tensor, tuned: torch.Tensor) -> float:
    """Return ‖ΔW‖/‖W‖ in torch's float64."""
    W = base.double()
    return float(torch.linalg.vector_norm(tuned.double() - W) / torch.linalg.vector_norm(W))
