"""Configurations as earlier versions of transformers wrote them, and as this one writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from ftdiff.comparison.beside.configurations import config_fields

_COMMON = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 512, "rms_norm_eps": 1e-05,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 256, "attention_dropout": 0.0,
    "initializer_range": 0.02, "transformers_version": "4.42.3", "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3",
    "original_max_position_embeddings": 256,
}  # fmt: skip
#: By architecture, what its files said beside the common fields.
OLDER: dict[str, dict[str, Any]] = {
    "llama": {"rope_theta": 5e5, "rope_scaling": _LLAMA3, "pretraining_tp": 1, "mlp_bias": False},
    "qwen2": {
        "rope_theta": 1e6, "sliding_window": 512, "use_sliding_window": False,
        "max_window_layers": 2, "tie_word_embeddings": True,
    },
    "mistral": {"rope_theta": 1e4, "sliding_window": 128},
    "gemma2": {
        "rope_theta": 1e4, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "head_dim": 32, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 32,
        "sliding_window": 128, "cache_implementation": "hybrid",
    },
    "gemma3_text": {
        "rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": None, "head_dim": 32,
        "sliding_window": 128, "sliding_window_pattern": 2, "query_pre_attn_scalar": 32,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "phi3": {
        "rope_theta": 1e4, "original_max_position_embeddings": 256, "pad_token_id": 0,
        "rope_scaling": {"long_factor": [1.1] * 8, "short_factor": [1.0] * 8, "type": "longrope"},
    },
    "qwen3_moe": {
        "rope_theta": 1e6, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True,
        "moe_intermediate_size": 32, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "head_dim": 32,
    },
    "qwen2_vl": {
        "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {"depth": 2, "embed_dim": 32, "num_heads": 2, "in_chans": 3},
    },
    "gpt_neox": {"rotary_pct": 0.25, "rotary_emb_base": 10000, "layer_norm_eps": 1e-05},
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(OLDER))
def test_writing_a_configuration_anew_changes_nothing(kind: str, tmp_path: Path) -> None:
    older = {**_COMMON, **OLDER[kind], "model_type": kind}
    told = json.loads(json.dumps(older))  # the library edits what it is given
    for name in ("model_type", "transformers_version"):
        del told[name]
    transformers.AutoConfig.for_model(kind, **told).save_pretrained(tmp_path)
    newer = json.loads((tmp_path / "config.json").read_text())
    assert newer != older
    for pair in ((older, newer), (newer, older)):
        found = config_fields(*pair)
        assert (found.deciding, found.others, found.dtype) == ((), (), ())
    theta = "rotary_emb_base" if kind == "gpt_neox" else "rope_theta"
    found = config_fields({**older, theta: 77.0}, newer)
    assert [one["field"] for one in found.deciding] == ["rope_theta"]
