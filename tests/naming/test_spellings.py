"""Names as other tools spell them, nested and numbered, have the places that they should."""

from __future__ import annotations

import json
import re

from ftdiff.naming import component_order, locate, strip_wrappers
from tests.conftest import FIXTURES

NAMES = FIXTURES / "names"
MODELS = {
    path.name[: -len(".json")]: list(json.loads(path.read_text()))
    for path in sorted(NAMES.glob("*.json"))
}


def test_experts_have_numbers_in_their_own_tensors_and_none_when_fused() -> None:
    for model in ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3"):
        for name, place in locate(MODELS[model]).items():
            number = re.search(r"\.experts\.(\d+)\.", name)
            assert place.expert == (int(number[1]) if number else None)
        fused = locate(MODELS[f"{model}.memory"]).values()
        assert {place.expert for place in fused} == {None}
        assert {place.param for place in fused if ".experts." in place.name} == {"weight"}


def test_other_tools_spellings_are_read() -> None:
    cases = {
        "blk.{}.attn_q.weight": "attn.q",
        "blk.{}.ffn_gate_exps.weight": "mlp.gate",
        "layers.{}.attention.wq.weight": "attn.q",
        "layers.{}.feed_forward.w1.weight": "mlp.gate",
        "layers.{}.feed_forward.w2.weight": "mlp.down",
        "layers.{}.attn.output_proj.weight": "attn.o",
        "layers.{}.sa_norm.scale": "norm.input",
        "transformer.resblocks.{}.attn.in_proj_weight": "attn.qkv",
        "model.layers.{}.mlp.experts.gate_up_proj_blocks": "mlp.gate_up",
        "model.layers.{}.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4": "attn.q",
        "model.layers.{}.self_attn.q_proj.qweight": "attn.q",
        "model.layers.{}._fsdp_wrapped_module._orig_mod.mlp.up_proj.weight": "mlp.up",
        "bert.encoder.layer.{}.output.LayerNorm.gamma": "norm.post_mlp",
    }
    params = {"scale", "weight", "blocks", "qweight", "gamma"}
    for spelling, component in cases.items():
        names = [spelling.format(i) for i in range(3)]
        places = [locate(names)[name] for name in names]
        assert [place.layer for place in places] == [0, 1, 2], spelling
        assert {place.component for place in places} == {component}, spelling
        assert places[0].param.split(".")[0] in params, spelling


def test_a_narrower_table_wins_where_all_its_modules_are_present() -> None:
    qwen = [
        f"transformer.h.{i}.{m}.weight"
        for i in range(2)
        for m in ("attn.c_attn", "attn.c_proj", "mlp.w1", "mlp.w2", "mlp.c_proj")
    ]
    assert locate(qwen)["transformer.h.1.mlp.w2.weight"].component == "mlp.gate"
    torchtune = [f"layers.{i}.mlp.w{n}.weight" for i in range(2) for n in (1, 2, 3)]
    assert locate(torchtune)["layers.1.mlp.w2.weight"].component == "mlp.down"
    glm = [
        f"transformer.encoder.layers.{i}.{m}.weight"
        for i in range(2)
        for m in ("self_attention.query_key_value", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    ]
    glm += ["transformer.output_layer.weight", "transformer.rotary_pos_emb.inv_freq"]
    assert locate(glm)["transformer.encoder.layers.1.mlp.dense_h_to_4h.weight"].role == "gate_up"
    assert locate(MODELS["bart"])["model.encoder.layers.0.final_layer_norm.weight"].role == (
        "post_mlp"
    )


def test_experts_called_by_word_and_number_are_experts() -> None:
    names = [
        f"encoder.layers.{i}.ffn.experts.expert_{e}.fc1.weight" for i in (0, 1) for e in (0, 1)
    ]
    place = locate(names)[names[3]]
    assert (place.layer, place.expert, place.module) == (1, 1, "ffn.experts.fc1")
    assert place.component == "mlp.up"


def test_the_layer_is_of_the_outermost_list_and_the_lists_inside_are_the_sublayer() -> None:
    places = locate(MODELS["swin"])
    prefix = "swin.encoder.layers"
    at = {
        name: (places[f"{prefix}.{name}.weight"].layer, places[f"{prefix}.{name}.weight"].sublayer)
        for name in (
            "0.blocks.0.output.dense",
            "0.downsample.reduction",
            "1.blocks.0.output.dense",
            "1.blocks.1.output.dense",
            "1.downsample.reduction",
            "2.blocks.1.output.dense",
        )
    }
    assert [*at.values()] == [(0, "0"), (0, None), (1, "0"), (1, "1"), (1, None), (2, "1")]
    block = places[f"{prefix}.1.blocks.0.output.dense.weight"]
    assert (block.module, block.component) == ("blocks.output.dense", "mlp.down")


UNET = {
    "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight": (1, "0.0", "attn.q"),
    "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k.weight": (1, "2.0", "attn.cross_k"),
    "up_blocks.1.attentions.2.transformer_blocks.0.ff.net.2.weight": (1, "2.0", "mlp.down"),
    "up_blocks.1.attentions.2.proj_out.weight": (1, "2", "attn.proj_out"),
    "up_blocks.3.resnets.0.conv2.weight": (3, "0", "conv.2"),
    "up_blocks.3.resnets.0.norm2.weight": (3, "0", "norm.2"),
    "up_blocks.0.upsamplers.0.conv.weight": (0, "0", "conv.upsample"),
    "mid_block.attentions.0.proj_out.weight": (0, None, "attn.proj_out"),
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight": (0, "0", "attn.cross_o"),
    "time_embedding.linear_1.weight": (None, None, "time_embedding.linear_1"),
}


def test_a_unet_has_layers_sublayers_and_roles_whatever_of_it_is_in_the_file() -> None:
    attn1 = [name.replace("attn2", "attn1") for name in UNET if "attn2" in name]
    for names in ([*UNET, *attn1], [*attn1, *sorted(UNET)[-4:]]):
        for name, place in locate(names).items():
            if name in UNET:
                assert (place.layer, place.sublayer, place.component) == UNET[name], name


def test_towers_keep_what_stands_beside_their_layers() -> None:
    places = locate(MODELS["llava"])
    beside = {name: place.stack for name, place in places.items() if place.layer is None}
    assert beside["vision_tower.post_layernorm.weight"] == "vision"
    assert beside["language_model.model.norm.weight"] == ""
    assert beside["multi_modal_projector.linear_1.weight"] == ""
    decoder = locate(MODELS["whisper"])["model.decoder.embed_tokens.weight"]
    assert (decoder.stack, decoder.module, decoder.layer) == ("decoder", "embed_tokens", None)


def test_a_word_for_a_tower_said_twice_is_said_once() -> None:
    names = [f"vision_tower.vision_model.encoder.layers.{i}.mlp.fc1.weight" for i in range(2)]
    names += [name.replace("vision_tower.vision_model.encoder", "model") for name in names]
    assert [place.stack for place in locate(names).values()] == ["vision", "vision", "", ""]


def test_the_parameter_of_a_tower_is_not_without_a_module() -> None:
    halves = [f"{half}.layers.{i}.fc1.weight" for half in ("encoder", "decoder") for i in range(2)]
    place = locate([*halves, "encoder.weight"])["encoder.weight"]
    assert (place.module, place.param) == ("encoder", "weight")


def test_lists_inside_a_block_count_no_layers() -> None:
    inner = ["attention.self.query", "attention.self.key", "ffn.{}.intermediate.dense"]
    names = [
        f"encoder.layer.{i}.{module.format(n)}.weight"
        for i in range(3)
        for n in range(2)
        for module in inner
    ]
    places = locate(names)
    assert {place.layer for place in places.values()} == {0, 1, 2}
    inner = places["encoder.layer.2.ffn.1.intermediate.dense.weight"]
    assert (inner.layer, inner.sublayer) == (2, "1")
    assert places["encoder.layer.2.attention.self.key.weight"].sublayer is None


def test_wrappers_inside_a_name_are_not_in_its_module() -> None:
    names = [f"layers.{i}._checkpoint_wrapped_module.mixer._orig_mod.x.weight" for i in range(2)]
    assert {place.module for place in locate(names).values()} == {"mixer.x"}
    for wrapped in ("modules_to_save.default.", "original_module.", "base_layer."):
        assert strip_wrappers(f"model.score.{wrapped}weight") == "score.weight"


def test_a_tower_that_is_the_model_may_be_left_out_of_names() -> None:
    assert strip_wrappers("model.text_model.layers.0.x.weight") == "layers.0.x.weight"
    assert strip_wrappers("vision_model.layers.0.x.weight") == "vision_model.layers.0.x.weight"


def test_a_module_without_a_role_still_has_a_block() -> None:
    blocks = {
        "self_attn.normalizer.proj": "attn",
        "temporal_attention.seed": "attn",
        "ffn.weird": "mlp",
        "mixer.in_proj": "other",
        "adapter.up_proj": "other",
    }
    names = [f"layers.{i}.{module}.weight" for i in range(2) for module in blocks]
    for place in locate(names).values():
        assert (place.block, place.role, place.component) == (
            *(blocks[place.module], ""),
            place.module,
        )


def test_two_lists_at_one_place_are_two_stacks() -> None:
    names = [f"{which}.{i}.attn.qkv.weight" for which in ("blocks", "layers") for i in range(2)]
    assert {place.stack for place in locate(names).values()} == {"blocks", "layers"}


def test_a_list_of_plain_parameters_is_no_list_of_layers() -> None:
    names = ["visual.merger.mlp.0.weight", "visual.merger.mlp.2.weight"]
    assert {place.layer for place in locate(names).values()} == {None}


def test_standard_components_come_first_in_their_order() -> None:
    wanted = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate"]
    wanted += ["attn.cross_q", "mlp.z", "mlp.router", "mlp.shared_up", "norm.input"]
    wanted += ["embed.tokens", "head.lm", "conv1", "merger.mlp.0"]
    assert component_order(reversed(wanted)) == wanted
    assert component_order(["attn.o", "attn.qkv", "attn.o"]) == ["attn.qkv", "attn.o"]
