"""Where heads lie in a projection, shown by the models themselves: what a row moves, and when."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from ftdiff.analyses import parts
from ftdiff.analyses.parts import attention
from ftdiff.comparison.plan import Change
from ftdiff.deltas.recipes import Replaced
from ftdiff.naming import locate
from ftdiff.tensors import ArrayTensor

_SMALL = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
_WIDE = {**_SMALL, "intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 0}
_GPT = {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32}
_GQA = {"num_key_value_heads": 2}
_FFN = {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1}
_NEXT = {"layer_types": ["full_attention"] * 2, "num_experts": 2, "num_experts_per_tok": 1}
_MPT = {"vocab_size": 40, "d_model": 24, "n_layers": 2, "n_heads": 4, "max_seq_len": 32}

#: A configuration class and its settings, by what it tests.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", {**_WIDE, **_GQA}),
    "qwen3, head_dim": ("Qwen3Config", {**_WIDE, **_GQA, "head_dim": 8}),
    "gemma, one key": ("GemmaConfig", {**_WIDE, "num_key_value_heads": 1, "head_dim": 10}),
    "phi3": ("Phi3Config", {**_WIDE, **_GQA, "rope_scaling": None}),
    "gpt2": ("GPT2Config", _GPT),
    "gpt_bigcode": ("GPTBigCodeConfig", {**_GPT, "multi_query": True}),
    "gpt_bigcode, all keys": ("GPTBigCodeConfig", {**_GPT, "multi_query": False}),
    "gpt_neox": ("GPTNeoXConfig", _WIDE),
    "bloom": ("BloomConfig", {"vocab_size": 40, "hidden_size": 24, "n_layer": 2, "n_head": 4}),
    "falcon, one key": ("FalconConfig", {**_SMALL, "multi_query": True}),
    "falcon, all keys": ("FalconConfig", {**_SMALL, "multi_query": False, "alibi": True}),
    "falcon, groups": (
        "FalconConfig",
        {**_SMALL, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "codegen": ("CodeGenConfig", {**_GPT, "n_embd": 32, "n_head": 8, "rotary_dim": 4}),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4}),
    "mpt": ("MptConfig", _MPT),
    "persimmon": ("PersimmonConfig", {**_WIDE, "hidden_size": 32}),
    "modernbert": ("ModernBertConfig", {**_WIDE, "attn_implementation": "eager"}),
    "dbrx": (
        "DbrxConfig",
        {
            **_MPT,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 99},
            "ffn_config": _FFN,
        },
    ),
    "qwen3_next": ("Qwen3NextConfig", {**_WIDE, **_GQA, "head_dim": 8, **_NEXT}),
    "opt": ("OPTConfig", {**_SMALL, "ffn_dim": 32, "word_embed_proj_dim": 24}),
}


def model_of(family: str) -> nn.Module:
    name, settings = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**settings)
    masked = name == "ModernBertConfig"
    kind = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    model: nn.Module = kind.from_config(config, experts_implementation="eager")
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.4)
    return model.double().eval()


def cuts(model: nn.Module) -> dict[str, attention.Cut]:
    """The heads of each weight of the first layer's attention, by module."""
    state = model.state_dict()
    places = locate(state)
    found = {}
    for name, place in places.items():
        tensor = ArrayTensor(state[name].numpy())
        change = Change(place, tensor, Replaced(tensor))
        if place.layer == 0 and place.param == "weight" and attention.has_heads(change):
            found[name.removesuffix(".weight")] = attention.cut(change, model.config.to_dict())
    return found


def seen_by_output(
    model: nn.Module, output: str, projection: str, change: Callable[[torch.Tensor], None]
) -> torch.Tensor:
    """Run the model with a projection's result changed: what the output projection is given."""
    seen: list[torch.Tensor] = []

    def changed(_module: nn.Module, _given: Any, result: torch.Tensor) -> torch.Tensor:
        result = result.clone()
        change(result)
        return result

    hooks = [
        model.get_submodule(projection).register_forward_hook(changed),
        model.get_submodule(output).register_forward_pre_hook(
            lambda _, given: seen.append(given[0])
        ),
    ]
    with torch.no_grad():
        model(torch.arange(1, 7)[None])
    for hook in hooks:
        hook.remove()
    return seen[0][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_moves_its_own_heads_and_acts_as_its_role_does(family: str) -> None:
    model = model_of(family)
    found = cuts(model)
    (output,) = [name for name, cut in found.items() if cut.runs[0].role == "o"]
    heads, size = found[output].heads, found[output].size
    runs_seen = set()
    for projection, cut in found.items():
        if projection == output:
            continue
        for i, run in enumerate(cut.runs):
            runs_seen.add(run)

            def push(result: torch.Tensor, by: float = 0.3, i: int = i, cut: Any = cut) -> None:
                run = torch.linspace(-1, 2, cut.size, dtype=torch.float64)
                result[..., 1, i * cut.size : (i + 1) * cut.size] += by * run

            plain = seen_by_output(model, output, projection, lambda _: None)
            moved = seen_by_output(model, output, projection, push) - plain
            twice = seen_by_output(model, output, projection, lambda r: push(r, 0.6)) - plain
            parts_moved = moved.reshape(len(moved), heads.query, size).abs().amax(dim=2) > 1e-12
            each = heads.query // heads.kv
            mine = (
                {run.head}
                if run.role == "q"
                else set(range(run.head * each, run.head * each + each))
            )
            assert set(parts_moved.any(dim=0).nonzero().ravel().tolist()) == mine, run
            later = parts_moved.any(dim=1).tolist()
            # A query is asked once, where it stands; keys and values are seen from there on.
            keyed = run.role != "q"
            assert later == [keyed and family == "modernbert", True] + [keyed] * 4, run
            # The result is linear in the values, and in nothing else.
            assert torch.allclose(twice, 2 * moved, rtol=0, atol=1e-10) == (run.role == "v"), run
    expected = {("q", h) for h in range(heads.query)}
    assert runs_seen == expected | {(role, h) for role in "kv" for h in range(heads.kv)}


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_a_model_add_up_to_its_projections(family: str) -> None:
    base = model_of(family)
    tuned = copy.deepcopy(base)
    for parameter in tuned.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    diff = parts.heads(base, tuned)
    assert not diff.about["uncut"]
    sums = diff.frame.groupby("tensor")["delta_sq"].sum()
    for name, total in sums.items():
        dW = tuned.state_dict()[name] - base.state_dict()[name]
        assert total == pytest.approx(float((dW**2).sum()), rel=1e-9)
