"""Which words in front of a model's names transformers adds or drops, and which hide the names."""

from __future__ import annotations

import pytest

from ftdiff.naming.model_prefixes import foreign

LAYER, EMBED, HEAD = "layers.0.mlp.up_proj.weight", "embed_tokens.weight", "lm_head.weight"
LLAMA = (f"model.{LAYER}", f"model.{EMBED}", HEAD)


def found(kind: str, names: tuple[str, ...], base: tuple[str, ...]) -> int:
    pairs = {one: other for one, other in zip(names, base, strict=True) if one != other}
    return len(foreign(pairs, kind, base))


@pytest.mark.parametrize(
    "prefix",
    ["transformer", "language_model", "actor", "_forward_module", "model.language_model", "bert"],
)
def test_other_words_than_the_class_s_own_hide_every_name(prefix: str) -> None:
    assert found("llama", tuple(f"{prefix}.{name}" for name in LLAMA), LLAMA) == 3


@pytest.mark.parametrize(
    ("kind", "prefix", "wrong"),
    [
        *[("llama", "model", False), ("gpt2", "transformer", False), ("gpt2", "model", True)],
        *[("bert", "bert", False), ("xlm-roberta", "roberta", False), ("bert", "roberta", True)],
        *[("mine", "model", False), ("mine", "transformer", False), ("mine", "actor", True)],
    ],
)
def test_the_class_s_own_word_may_be_there_or_not(kind: str, prefix: str, wrong: bool) -> None:
    bare = ("h.0.mlp.c_fc.weight", "h.1.mlp.c_fc.weight")
    full = tuple(f"{prefix}.{name}" for name in bare)
    assert bool(found(kind, full, bare)) == wrong
    assert not found(kind, bare, full)
    assert bool(found(kind, tuple(f"{prefix}.{name}" for name in full), full)) == wrong


def test_a_model_of_parts_is_nested_as_the_release_has_it() -> None:
    old = (f"language_model.model.{LAYER}", f"language_model.{HEAD}", "vision_tower.x.0.weight")
    new = (f"model.language_model.{LAYER}", HEAD, "model.vision_tower.x.0.weight")
    for one, other in ((old, new), (new, old)):
        assert not found("llava", one, other)
        assert found("llava", tuple(f"policy.{name}" for name in one), one) == 3


def test_what_is_spelled_otherwise_inside_says_nothing_of_the_words_in_front() -> None:
    pairs = {
        "model.layers.0.block_sparse_moe.gate.weight": "model.layers.0.mlp.gate.weight",
        "layers.0.attention.wq.weight": "model.layers.0.self_attn.q_proj.weight",
        "tok_embeddings.weight": "model.embed_tokens.weight",
        "lm_head.weight": "model.embed_tokens.weight",
        "encoder.embed_tokens.weight": "decoder.embed_tokens.weight",
    }
    assert foreign(pairs, "mixtral", pairs.values()) == []


def test_a_base_that_is_wrapped_itself_is_no_fault_of_the_fine_tune() -> None:
    wrapped = tuple(f"actor.{name}" for name in LLAMA)
    assert not found("llama", LLAMA, wrapped)


def test_a_head_for_answers_has_its_model_under_another_word() -> None:
    names = (f"transformer.{LAYER}", f"transformer.{EMBED}")
    base = (f"model.{LAYER}", f"model.{EMBED}")
    pairs = dict(zip(names, base, strict=True))
    assert foreign(pairs, "llama", base)
    assert not foreign(pairs, "llama", (*base, "qa_outputs.weight"))
