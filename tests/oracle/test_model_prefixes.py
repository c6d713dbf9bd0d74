"""The words in front of a model's names are those of transformers' classes."""

from __future__ import annotations

import transformers
from transformers.models.auto import modeling_auto

from ftdiff.naming import model_prefixes


def test_the_table_has_the_prefix_of_each_class() -> None:
    held = {
        **modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        **modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        **modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    known = ("llama", "mixtral", "gpt2", "gpt_neox", "t5", "bert", "xlm-roberta", "mamba", "bart")
    table = model_prefixes._prefixes()
    assert len(table) > 150
    for kind in known:
        name = held[kind] if isinstance(held[kind], str) else held[kind][0]
        assert getattr(transformers, name).base_model_prefix == table[kind]
