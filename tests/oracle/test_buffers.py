"""What is taken for a buffer is one by torch's own word, and no parameter ever is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from ftdiff.naming.buffers import buffers

SMALL: dict[str, Any] = {"num_hidden_layers": 2, "n_layer": 2, "num_layers": 2}
MORE: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global"], 2]]},
    "swin": {"depths": [2, 2, 2, 2]},
}
KINDS = (
    *("gpt2", "gpt_neo", "gptj", "codegen", "gpt_neox", "bloom", "bert", "roberta", "vit", "clip"),
    *("swin", "llama", "t5", "bart", "opt", "resnet", "deberta-v2", "gpt_bigcode", "falcon"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_parameter_is_taken_for_a_buffer(kind: str) -> None:
    try:
        config = transformers.AutoConfig.for_model(kind, **(SMALL | MORE.get(kind, {})))
    except AttributeError:  # a name that the configuration has under another
        config = transformers.AutoConfig.for_model(kind, **MORE.get(kind, {}))
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    held = {name: tuple(W.shape) for name, W in model.named_buffers()}
    shapes = held | {n: tuple(W.shape) for n, W in model.named_parameters(remove_duplicate=False)}
    found = {*buffers(shapes)}
    assert not found & trained
    saved = {name.rpartition(".")[2] for name in held if name in model.state_dict()}
    told = {name.rpartition(".")[2] for name in found}
    assert saved - told <= {"running_mean", "running_var"}
