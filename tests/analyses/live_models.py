"""Tiny models that run, their fine-tunes, texts and tokenizers, written by other people's code."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import nn

VOCAB = 40


def bert(*, seed: int = 0) -> nn.Module:
    """A BERT of two layers that says hidden tokens."""
    config = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=36,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
    )
    torch.manual_seed(seed)
    model = transformers.BertForMaskedLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    model.config.mask_token_id = 3
    return model.eval()


def moved(model: nn.Module, names: Sequence[str] = (), *, by: float = 0.02, seed: int = 1) -> Any:
    """A copy in which every parameter whose name holds one of the words moved at random."""
    tuned = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            step = torch.randn(parameter.shape, generator=draw)
            if not names or any(word in name for word in names):
                parameter.add_(step, alpha=by)
    return tuned


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def token_rows(count: int = 6, length: int = 12, *, vocab: int = VOCAB, seed: int = 0) -> Any:
    """Rows of tokens of several lengths."""
    draw = torch.Generator().manual_seed(seed)
    return [
        torch.randint(4, vocab, (length - i % 4,), generator=draw).tolist() for i in range(count)
    ]


def written(rows: Sequence[Any], path: Path, field: str = "input_ids") -> Path:
    """Write a .jsonl of one field; rows that are dicts stay as they are."""
    whole = [row if isinstance(row, dict) else {field: row} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in whole))
    return path


def byte_tokenizer(**settings: Any) -> Any:
    """A tokenizer whose tokens are bytes, and a beginning and an end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>"])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", **settings
    )
