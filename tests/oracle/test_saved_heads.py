"""What peft saves whole beside factors: without a base it is left out, with one it is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from torch import nn

import ftdiff
from tests.oracle import models
from tests.oracle.agreement import merge_difference, save_adapter


def classifier() -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=24, intermediate_size=36, num_hidden_layers=2,
        num_attention_heads=4, num_labels=3, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(5)
    return transformers.LlamaForSequenceClassification(config).eval()


#: By situation: the model, what `LoraConfig` is given, and how many tensors are saved whole.
CASES: dict[str, tuple[Any, dict[str, Any], int]] = {
    "head": (classifier, {"task_type": "SEQ_CLS"}, 1),
    "biases": (lambda: models.llama(bias=True), {"bias": "all"}, 14),
    "embedding": (models.llama, {"modules_to_save": ["embed_tokens", "lm_head"]}, 2),
    "tokens": (models.llama, {"trainable_token_indices": [3, 5]}, 1),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_likeness_without_a_base_is_of_what_is_not_saved_whole(name: str, tmp_path: Path) -> None:
    build, options, count = CASES[name]
    model = build()
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **options)
    paths = [save_adapter(model, config, tmp_path / str(s), seed=s) for s in (1, 2)]
    found = ftdiff.similarity(paths)
    saved = {*found.about["saved"]["1"]}
    assert len(saved) == count
    changes = [merge_difference(model, path) for path in paths]
    kept = [tensor for tensor in changes[0] if tensor not in saved]
    a, b = (np.concatenate([change[key].ravel() for key in kept]) for change in changes)
    wanted = a @ b / np.sqrt((a @ a) * (b @ b))
    assert found.matrix.iloc[0, 1] == pytest.approx(wanted, abs=1e-5)
    diff = ftdiff.compare(None, paths[0])
    assert {*diff.frame.loc[diff.frame["delta_sq"].isna(), "tensor"]} == saved
    squares = diff.frame["delta_sq"].sum()
    assert squares == pytest.approx(a @ a, rel=1e-5)
