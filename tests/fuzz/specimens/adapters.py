"""Adapters of every family, as their tools write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.adapters.files import configure, random
from tests.adapters.files import write as save
from tests.fuzz.specimens import ADAPTER, INSPECT, Add, Make

MODULE = "model.layers.0.self_attn.q_proj"
PEFT = f"base_model.model.{MODULE}"
KOHYA = "lora_te_model_layers_0_self_attn_q_proj"
LORA = {"lora_A.weight": (2, 16), "lora_B.weight": (16, 2)}
CONFIG, WEIGHTS, FILE = "tuned/adapter_config.json", "tuned/adapter_model.safetensors", "tuned/x"
WHOLE = {
    **{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]},
    **{"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}, "use_rslora": True},
    **{"use_dora": False, "layers_to_transform": [0], "modules_to_save": None, "bias": "none"},
    **{"fan_in_fan_out": False, "init_lora_weights": True, "layers_pattern": "layers"},
    **{"exclude_modules": None, "revision": None, "trainable_token_indices": None},
}
#: Of modules that the base has not.
ALONE = (
    INSPECT,
    ("compare", "-", "{}/tuned", "-j", "1"),
    ("compare", "-", "{}/tuned", "--format", "csv"),
)
CARD = "---\nbase_model: {}\ntags:\n- lora\n- x\nlicense: mit\n---\n# A model\n"


def _at(path: str, parts: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    return {f"{path}.{part}": random(*shape) for part, shape in parts.items()}


def peft(tensors: Mapping[str, Any], **config: Any) -> Make:
    """Return what writes a folder of PEFT's."""

    def make(at: Path) -> None:
        (at / "tuned").mkdir()
        save(at / "tuned" / "adapter_model.safetensors", tensors)
        told = {"base_model_name_or_path": "x/y", "task_type": "CAUSAL_LM"}
        configure(at / "tuned", **told, **config)

    return make


def _alone(tensors: Mapping[str, Any], name: str = "x.safetensors", **metadata: str) -> Make:
    def make(at: Path) -> None:
        (at / "tuned").mkdir()
        _save(at / "tuned" / name, tensors, **metadata)

    return make


def _save(path: Path, tensors: Mapping[str, Any], **metadata: str) -> None:
    """Write tensors as safetensors or as torch does, by the ending."""
    if path.suffix == ".safetensors":
        save(path, tensors, **metadata)
    else:
        torch.save({name: torch.from_numpy(np.array(t)) for name, t in tensors.items()}, path)


def write(root: Path, add: Add) -> None:
    """Write an adapter of each family, and damage its weights, its header, its configuration."""
    del root
    lora = _at(PEFT, LORA)
    add("LoRA configuration", "json", CONFIG, ADAPTER, peft(lora, **WHOLE))
    add("LoRA", "safetensors", WEIGHTS, ADAPTER, peft(lora, **WHOLE))
    add("LoRA, structure", "header", WEIGHTS, ADAPTER, peft(lora, **WHOLE))
    add("LoRA, settings", "lora", CONFIG, ADAPTER, peft(lora, **WHOLE))
    _torch(add, lora)
    _named_base(add, lora)
    _kohya(add)
    single: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "diffusers": (
            _at("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", LORA),
            {"lora_adapter_metadata": '{"unet.r": 2, "unet.lora_alpha": 4}'},
        ),
        "xlabs": (
            _at(
                "double_blocks.0.processor",
                {"qkv_lora1.down.weight": (2, 6), "qkv_lora1.up.weight": (8, 2)},
            ),
            {},
        ),
        "torchtune": (
            _at("layers.0.attn.q_proj", {"lora_a.weight": (2, 16), "lora_b.weight": (16, 2)}),
            {"lora_alpha": "4"},
        ),
        "bare LoRA": (_at(MODULE, LORA), {"lora_alpha": "4"}),
        "unknown": (
            _at("blk.q", {"adapter_down.weight": (2, 16), "adapter_up.weight": (16, 2)}),
            {},
        ),
    }
    for name, (tensors, told) in single.items():
        commands = {"unknown": (INSPECT,), "diffusers": ALONE, "xlabs": ALONE}.get(name, ADAPTER)
        add(name, "safetensors", f"{FILE}.safetensors", commands, _alone(tensors, **told))
    add("MLX configuration", "json", CONFIG, ADAPTER, _mlx)
    add("MLX", "safetensors", "tuned/adapters.safetensors", ADAPTER, _mlx)
    gguf = [(name, "{root}/base", "{}/a.gguf", "-j", "1") for name in ("compare", "audit")]
    for way in ("bytes", "gguf"):
        add(f"gguf adapter, {way}", way, "a.gguf", (*gguf, ("inspect", "{}/a.gguf")), _gguf)


def _torch(add: Add, lora: Mapping[str, Any]) -> None:
    def make(at: Path) -> None:
        (at / "tuned").mkdir()
        _save(at / "tuned" / "adapter_model.bin", lora)
        configure(at / "tuned", **WHOLE)

    for way in ("zip", "bytes"):
        add(f"LoRA in torch's, {way}", way, "tuned/adapter_model.bin", ADAPTER, make)


def _named_base(add: Add, lora: Mapping[str, Any]) -> None:
    """Add a card that names the base, which audit of one path then looks for."""

    def make(at: Path) -> None:
        (at / "tuned").mkdir()
        _save(at / "tuned" / "adapter_model.safetensors", lora)
        configure(at / "tuned", **WHOLE)
        (at / "tuned" / "README.md").write_text(CARD.format(at.parent / "base"))

    named = (("--offline", "audit", "{}/tuned", "-j", "1"),)
    add("card", "card", "tuned/README.md", named, make)


def _kohya(add: Add) -> None:
    alpha = {f"{KOHYA}.alpha": np.array(2, np.float32)}
    network = {"ss_network_module": "networks.lora", "ss_network_args": '{"conv_dim": "4"}'}
    lycoris = {"ss_network_module": "lycoris.kohya"}
    halves = {
        f"hada_{part}": (16, 2) if part.endswith("a") else (2, 16)
        for part in ("w1_a", "w1_b", "w2_a", "w2_b")
    }
    kinds: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, str]]] = {
        "kohya": ({"lora_down.weight": (2, 16), "lora_up.weight": (16, 2)}, network),
        "LyCORIS LoHa": (halves, lycoris),
        "LyCORIS LoKr": ({"lokr_w1": (4, 4), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, {}),
        "LyCORIS full": ({"diff": (16, 16)}, {}),
    }
    for name, (parts, told) in kinds.items():
        tensors = _at(KOHYA, parts) | (alpha if name != "LyCORIS full" else {})
        add(name, "safetensors", f"{FILE}.safetensors", ADAPTER, _alone(tensors, **told))
    tensors = _at(KOHYA, kinds["kohya"][0]) | alpha
    add("kohya in torch's", "zip", f"{FILE}.pt", ADAPTER, _alone(tensors, "x.pt"))


def _mlx(at: Path) -> None:
    (at / "tuned").mkdir()
    tensors = _at(MODULE, {"lora_a": (16, 2), "lora_b": (2, 16)})
    _save(at / "tuned" / "adapters.safetensors", tensors)
    told = {"rank": 2, "scale": 20.0, "dropout": 0.0}
    configure(at / "tuned", fine_tune_type="lora", num_layers=1, lora_parameters=told)


def _gguf(at: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(at / "a.gguf", "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_array("adapter.alora.invocation_tokens", [1, 2])
    for part, shape in {"lora_a": (2, 16), "lora_b": (16, 2)}.items():
        writer.add_tensor(f"blk.0.attn_q.weight.{part}", random(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
