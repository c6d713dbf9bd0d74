"""Whole models, in every format of checkpoints, with what lies beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import FIXTURES, llama, nudge, write_model
from tests.formats import test_dcp, test_gguf_model
from tests.fuzz.specimens import AUDIT, COMPARE, INSPECT, MODEL, Add

CONFIG = {
    **{"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "hidden_size": 16, "tie_word_embeddings": False},
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
SMALL = {n: t for n, t in llama(layers=1).items() if "mlp" not in n}
OPENED = (("inspect", "{}/m.gguf"), ("compare", "{}/m.gguf", "{}/m.gguf", "-j", "1"))


def write(root: Path, add: Add) -> None:
    """Write the base of most others, and a fine-tune of it in each format."""
    base = write_model(root / "base", SMALL, config=CONFIG)
    for name in TOKENIZER:
        shutil.copy(FIXTURES / "base" / name, base / name)
    tuned = nudge(SMALL)

    def folder(at: Path, **more: Any) -> Path:
        return write_model(at / "tuned", tuned, config=CONFIG, **more)

    def torch_zip(at: Path) -> None:
        (at / "tuned").mkdir()
        torch.save({"state_dict": tuned, "step": 3}, at / "tuned" / "pytorch_model.bin")

    def dcp(at: Path) -> None:
        test_dcp.save(at / "tuned", tuned)

    index = "tuned/model.safetensors.index.json"
    add("safetensors", "safetensors", "tuned/model.safetensors", MODEL, folder)
    add("index of shards", "json", index, MODEL, lambda at: folder(at, shards=2))
    add("settings, drawn", "model", "tuned/config.json", (AUDIT, *MODEL), folder)
    add("index, drawn", "index", index, MODEL, lambda at: folder(at, shards=2))
    add("torch zip", "zip", "tuned/pytorch_model.bin", MODEL, torch_zip)
    add("torch zip, bytes", "bytes", "tuned/pytorch_model.bin", MODEL, torch_zip)
    add("dcp", "bytes", "tuned/.metadata", MODEL, dcp)
    add("dcp, data", "bytes", "tuned/__0_0.distcp", MODEL, dcp)
    add("gguf", "bytes", "m.gguf", OPENED, _gguf)
    add("gguf Q4_0", "bytes", "m.gguf", OPENED, lambda at: _gguf(at, 2))
    add("gguf, header", "gguf", "m.gguf", OPENED, _gguf)
    _beside(add, folder)
    _pipeline(add)


def _gguf(at: Path, kind: int | None = None) -> None:
    tensors = {
        "token_embd.weight": test_gguf_model.random(8, 32),
        "blk.0.attn_q.weight": test_gguf_model.random(32, 32),
        "output_norm.weight": np.ones(32, np.float32),
    }
    test_gguf_model.write(at / "m.gguf", tensors, kind=kind)


def _beside(add: Add, folder: Any) -> None:
    small: dict[str, Any] = {
        "generation_config.json": {"max_length": 20, "eos_token_id": [1, 2]},
        "special_tokens_map.json": {"bos_token": {"content": "<s>", "lstrip": False}},
        "added_tokens.json": {"<extra>": 63},
        "chat_template.json": {"chat_template": "{{ messages }}"},
    }

    def make(at: Path) -> None:
        made = folder(at)
        for name in TOKENIZER:
            shutil.copy(FIXTURES / "base" / name, made / name)
        for name, told in small.items():
            (made / name).write_text(json.dumps(told))
        (made / "chat_template.jinja").write_text("{% for m in messages %}{{ m }}{% endfor %}")

    names = " ".join(f"tuned/{name}" for name in ("config.json", *TOKENIZER, *small))
    tokens = ("parts", "{root}/base", "{}/tuned", "--by", "token", "-j", "1")
    add("settings", "json", names, (AUDIT, COMPARE, COMPARE, INSPECT, tokens), make)
    add("template", "text", "tuned/chat_template.jinja", (AUDIT, COMPARE), make)


def _pipeline(add: Add) -> None:
    def make(at: Path) -> None:
        made = at / "tuned"
        held = {"encoder.weight": torch.ones(4, 4), "encoder.bias": torch.ones(4)}
        for part in ("unet", "text_encoder"):
            write_model(made / part, held, config={"_class_name": part})
        parts = {part: ["diffusers", "X"] for part in ("unet", "text_encoder")}
        told = {"_class_name": "StableDiffusionPipeline", **parts}
        (made / "model_index.json").write_text(json.dumps(told))

    same = (INSPECT, ("compare", "{}/tuned", "{}/tuned", "-j", "1"))
    add("pipeline", "json", "tuned/model_index.json", same, make)
