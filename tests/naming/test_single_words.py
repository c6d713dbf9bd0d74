"""Where no family has a module's name, single words of its path tell block and role, or nothing."""

from __future__ import annotations

import pytest

from ftdiff.naming import locate
from ftdiff.naming.single_words import read_single_words

ROLES = {
    # the last word that says something, whatever stands around it
    "attn.to_q": "attn.q",
    "some_attn.linear_k": "attn.k",
    "self_attn.v_proj.linear": "attn.v",
    "attn.add_q_proj": "attn.q",
    "attn.to_out.0": "attn.o",
    "attention.projection": "attn.o",
    "attention.output.dense": "attn.o",
    "visual_attention.output.dense": "attn.o",
    "ff.net.0.proj": "mlp.up",
    "ff.net.2": "mlp.down",
    "my_ffn.linear1": "mlp.up",
    "conv_module.pointwise_conv1": "conv.pointwise_1",
    "res_unit1.conv2.parametrizations.weight.original0": "conv.2",
    "downsample.conv": "conv.downsample",
    "mamba.in_proj": "ssm.in",
    "linear_attn.in_proj_qkv": "attn.linear_qkv",
    # another attention, another mlp
    "cross_attn.q_proj": "attn.cross_q",
    "cross_attention.attention.k_proj": "attn.cross_k",
    "encoder_decoder_attention.attention.value": "attn.cross_v",
    "self_attn.indexer.wq_b": "attn.indexer_q_b",
    "moe.shared_expert.up_proj": "mlp.shared_up",
    "self_attention.experts.output_linear": "attn.o",
    # norms say what they are before or after; what is in one conditions the block
    "post_self_attn_layernorm": "norm.post_self_attn",
    "attn.norm_added_k": "norm.added_k",
    "norm_attn_norm.attn.Wqkv": "attn.qkv",
    "input_layernorm.mlp.fc1": "cond.modulation",
    "norm1.linear": "cond.modulation",
    "norm2.conv_y": "cond.scale",
    "resnet.time_emb_proj": "cond.time",
    # experts' gate, and that of a feed-forward
    "ff.gate": "mlp.gate",
    "ff.up": "mlp.up",
}
NOTHING = [
    "adapter.up_proj",
    "mlp.gate.down_proj",
    "q_message_gate.down_proj",
    "mlp.adapter_list.0",
    "self_attn.normalizer.proj",
    "mixer.in_proj",
    "attention.query_tokens",
    "attn.w_g",
    "attn_pool.query",
]


def component(module: str, *beside: str) -> str:
    names = [f"blocks.{i}.{one}.weight" for i in range(2) for one in (module, *beside)]
    return locate(names)[names[0].replace(".original0.weight", ".original0")].component


@pytest.mark.parametrize("module", ROLES)
def test_the_role_is_told_by_block_and_last_word(module: str) -> None:
    names = [
        f"blocks.{i}.{one}" + ("" if one.endswith("original0") else ".weight")
        for i in range(2)
        for one in ROLES
    ]
    places = {place.name: place.component for place in locate(names).values()}
    name = next(name for name in names if name.startswith(f"blocks.0.{module}"))
    assert places[name] == ROLES[module]


@pytest.mark.parametrize("module", NOTHING)
def test_what_no_word_tells_has_no_role(module: str) -> None:
    suffix = "" if module.endswith("query") else ".weight"  # a learned query, not a projection
    names = [f"blocks.{i}.{module}{suffix}" for i in range(2)]
    assert locate(names)[names[0]].role == ""


def test_numbers_mean_what_their_neighbours_make_them() -> None:
    assert [component(f"ffn.w{n}", "ffn.w1", "ffn.w2", "ffn.w3") for n in (1, 2, 3)] == [
        "mlp.gate",
        "mlp.down",
        "mlp.up",
    ]
    assert [component(f"ffn.w{n}", "ffn.w1", "ffn.w2") for n in (1, 2)] == ["mlp.up", "mlp.down"]
    gated = ("ff.linear_1", "ff.linear_2", "ff.out_projection")
    assert [component(one, *gated) for one in gated] == ["mlp.gate", "mlp.up", "mlp.down"]
    assert [component(f"mlp.{n}", "mlp.0", "mlp.2") for n in (0, 2)] == ["mlp.up", "mlp.down"]
    assert component("mlp.0") == "mlp.0"


def test_a_gate_beside_experts_is_their_router() -> None:
    assert component("ffn.gate", "ffn.experts.fc1") == "mlp.router"
    assert component("mixer.gate", "mixer.experts.up_proj") == "mlp.router"


def test_a_mixer_is_a_state_space_beside_what_only_that_has() -> None:
    assert component("mixer.out_proj", "mixer.A_log") == "ssm.out"
    assert component("mixer.q_proj", "mixer.A_log") == "attn.q"


def test_a_second_attention_crosses_over_unless_it_is_one_over_time() -> None:
    assert component("attn2.to_k", "attn1.to_k") == "attn.cross_k"
    assert component("audio_attn2.to_k", "audio_attn1.to_k") == "attn.cross_k"
    assert component("attn2.to_k") == "attn.k"
    assert component("motion_modules.0.attn2.to_k", "motion_modules.0.attn1.to_k") == (
        "attn.second_k"
    )


def test_a_parameter_in_a_norm_is_the_norms() -> None:
    names = [f"blocks.{i}.attn.q_norm.temperature" for i in range(2)]
    assert locate(names)[names[0]].component == "norm.q"


def test_a_numbered_norm_is_before_or_after_an_attention_only_where_there_is_one() -> None:
    assert component("norm2", "attn.qkv") == "norm.post_attention"
    assert component("norm2", "conv2") == "norm.2"


def test_a_list_of_cross_attentions_crosses_over() -> None:
    names = [f"cross_attn_layers.{i}.v_proj.weight" for i in range(2)]
    assert locate(names)[names[0]].component == "attn.cross_v"
    names = [f"cross_modal_layers.{i}.attention.self.value.weight" for i in range(2)]
    assert locate(names)[names[0]].component == "attn.v"


def test_the_last_projection_of_a_unets_middle_is_no_head() -> None:
    for name in ("mid_block.attentions.0.proj_out.weight", "proj_out.weight"):
        assert locate(["up_blocks.0.resnets.0.conv1.weight", name])[name].block != "head"


def test_every_word_is_spelled_as_paths_are_read() -> None:
    words = read_single_words()
    for table in words.roles.values():
        assert all(word == word.lower() for word in table)
    assert set(words.alone.values()) <= set(words.roles)
    assert set(words.kinds) <= set(words.roles)
