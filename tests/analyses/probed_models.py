"""A tiny model in which it is known where a label can be read, and rows of that label."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.analyses.live_models import byte_tokenizer

#: Layers below do not attend: what a token is reaches later tokens from this one on.
ATTENDS = 2
LAYERS = 3


def written_model(folder: Path, *, seed: int = 0, attends: int = ATTENDS) -> Path:
    """Write a Llama of bytes, with its tokenizer, in which the first layers do not attend."""
    config = transformers.LlamaConfig(
        vocab_size=258,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
            if any(f"layers.{i}.self_attn.o_proj" in name for i in range(attends)):
                parameter.zero_()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def labelled(count: int = 60, *, seed: int = 0) -> list[dict[str, Any]]:
    """Questions of random letters, answered Y (label 1) or N (label 0)."""
    rng = np.random.default_rng(seed)
    letters = np.array([*string.ascii_lowercase])
    labels = rng.permutation(np.arange(count) % 2)
    return [
        {
            "prompt": f"{''.join(rng.choice(letters, 2))} is ",
            "answer": f"{'NY'[label]}!",
            "exact_answer": "NY"[label],
            "label": int(label),
        }
        for label in labels
    ]


def written_rows(rows: Sequence[Any], path: Path) -> Path:
    """Write rows as a .jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
