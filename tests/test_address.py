"""Names of real architectures, and of hostile ones, have the places that they should."""

from __future__ import annotations

import json
import pickle
import re
import tomllib
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ftdiff
from ftdiff.address import Address, component_order, locate, strip_wrappers

NAMES = Path(__file__).parents[1] / "fixtures" / "names"
TABLES = {
    path.stem: tomllib.loads(path.read_text("utf-8"))
    for path in sorted((Path(ftdiff.__file__).parent / "naming").glob("*.toml"))
}
WORDS = TABLES.pop("words")
MODELS = {
    path.name[: -len(".json")]: list(json.loads(path.read_text()))
    for path in sorted(NAMES.glob("*.json"))
}
STANDARD = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate"]

# What each model calls the standard components, in their order; "-" where it has none, with the
# fused one after a "+".
LLAMA = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
LLAMA_MLP = "mlp.up_proj mlp.down_proj mlp.gate_proj"
MIXED = f"{LLAMA} mlp.experts.up_proj mlp.experts.down_proj mlp.experts.gate_proj"
FUSED = f"{LLAMA} - mlp.experts.down_proj - + mlp.gate_up mlp.experts.gate_up_proj"
NEOX = "- - - attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h -"
NEOX += " + attn.qkv attention.query_key_value"
BERT = "attention.self.query attention.self.key attention.self.value attention.output.dense"
BERT += " intermediate.dense output.dense -"
BART = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj fc1 fc2 -"
CLIP = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj mlp.fc1 mlp.fc2 -"
VIT = "attention.q_proj attention.k_proj attention.v_proj attention.o_proj mlp.fc1 mlp.fc2 -"
T5 = "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v"
T5 += " layer.0.SelfAttention.o layer.{0}.DenseReluDense.wi layer.{0}.DenseReluDense.wo -"
QWEN_VISION = "- - - attn.proj mlp.fc1 mlp.fc2 - + attn.qkv attn.qkv"
FALCON = NEOX.replace("attention", "self_attention")
EXPECTED: dict[str, dict[str, str]] = {
    "bart": {"encoder": BART, "decoder": BART},
    "bert": {"": BERT},
    "bloom": {"": FALCON},
    "clip": {"text": CLIP, "vision": CLIP},
    "deepseek_v3": {
        "": f"- - - self_attn.o_proj {MIXED.split(' ', 4)[4]}"
        f" + attn.kv_b self_attn.kv_b_proj mlp.shared_up mlp.shared_experts.up_proj"
    },
    "deepseek_v3.memory": {
        "": "- - - self_attn.o_proj mlp.up_proj mlp.experts.down_proj mlp.gate_proj"
        " + mlp.gate_up mlp.experts.gate_up_proj"
    },
    "distilbert": {
        "": "attention.q_lin attention.k_lin attention.v_lin attention.out_lin ffn.lin1 ffn.lin2 -"
    },
    "falcon": {"": FALCON},
    "gemma2": {"": f"{LLAMA} {LLAMA_MLP} + norm.pre_mlp pre_feedforward_layernorm"},
    "gemma3": {"": f"{LLAMA} {LLAMA_MLP} + norm.q self_attn.q_norm norm.k self_attn.k_norm"},
    "gpt2": {"": "- - - attn.c_proj mlp.c_fc mlp.c_proj - + attn.qkv attn.c_attn"},
    "gpt_neox": {"": NEOX},
    "gpt_neox.memory": {"": NEOX},
    "gpt_oss": {"": f"{FUSED} mlp.router mlp.router attn.sinks self_attn.sinks"},
    "gptj": {"": "attn.q_proj attn.k_proj attn.v_proj attn.out_proj mlp.fc_in mlp.fc_out -"},
    "jamba": {
        "": f"{LLAMA} feed_forward.up_proj feed_forward.down_proj feed_forward.gate_proj"
        " + mlp.router feed_forward.router"
    },
    "jamba.memory": {
        "": f"{LLAMA} feed_forward.up_proj feed_forward.down_proj feed_forward.gate_proj"
        " + mlp.gate_up feed_forward.experts.gate_up_proj"
    },
    "llama": {"": f"{LLAMA} {LLAMA_MLP} + norm.input input_layernorm"},
    "llama4": {
        "": f"{LLAMA} - feed_forward.experts.down_proj -"
        " + mlp.gate_up feed_forward.experts.gate_up_proj"
        " mlp.shared_gate feed_forward.shared_expert.gate_proj mlp.router feed_forward.router",
        "vision": f"{LLAMA} mlp.fc1 mlp.fc2 -",
    },
    "llava": {"": f"{LLAMA} {LLAMA_MLP}", "vision": CLIP},
    "llava.memory": {"": f"{LLAMA} {LLAMA_MLP}", "vision": CLIP},
    "mamba": {"": "- - - - - - - + norm.input norm"},
    "mistral": {"": f"{LLAMA} {LLAMA_MLP}"},
    "mixtral": {
        "": f"{LLAMA} block_sparse_moe.experts.w3 block_sparse_moe.experts.w2"
        " block_sparse_moe.experts.w1 + mlp.router block_sparse_moe.gate"
    },
    "mixtral.memory": {"": f"{FUSED} mlp.router mlp.gate"},
    "modernbert": {"": "- - - attn.Wo - mlp.Wo - + attn.qkv attn.Wqkv mlp.gate_up mlp.Wi"},
    "mpt": {"": "- - - attn.out_proj ffn.up_proj ffn.down_proj - + attn.qkv attn.Wqkv"},
    "opt": {"": BART},
    "phi3": {
        "": "- - - self_attn.o_proj - mlp.down_proj - + attn.qkv self_attn.qkv_proj"
        " mlp.gate_up mlp.gate_up_proj"
    },
    "qwen2": {"": f"{LLAMA} {LLAMA_MLP}"},
    "qwen2_moe": {"": f"{MIXED} + mlp.router mlp.gate mlp.shared_router mlp.shared_expert_gate"},
    "qwen2_moe.memory": {"": f"{FUSED} mlp.shared_up mlp.shared_expert.up_proj"},
    "qwen2_vl": {"": f"{LLAMA} {LLAMA_MLP}", "vision": QWEN_VISION},
    "qwen2_vl.memory": {"": f"{LLAMA} {LLAMA_MLP}", "vision": QWEN_VISION},
    "qwen3": {"": f"{LLAMA} {LLAMA_MLP}"},
    "qwen3_moe": {"": f"{MIXED} + mlp.router mlp.gate"},
    "qwen3_moe.memory": {"": f"{FUSED} mlp.router mlp.gate"},
    "roberta": {"": BERT},
    "swin": {"": BERT},
    "swin.memory": {"": VIT},
    "t5": {
        "encoder": T5.format(1) + " + norm.post_attention layer.1.layer_norm",
        "decoder": T5.format(2)
        + " + attn.cross_q layer.1.EncDecAttention.q norm.cross layer.1.layer_norm",
    },
    "vit": {"": BERT.replace("self", "attention")},
    "vit.memory": {"": VIT},
    "whisper": {
        "encoder": BART,
        "decoder": f"{BART} + attn.cross_o encoder_attn.out_proj norm.cross"
        " encoder_attn_layer_norm",
    },
}
# All that no table names, as it is spelled inside the layer.
UNNAMED = {
    "jamba": r"mamba\..*",
    "jamba.memory": r"mamba\..*",
    "mamba": r"mixer\..*",
    "llama4": r"multi_modal_projector\..*|vision_adapter\..*",
    "llava": r"multi_modal_projector\..*",
    "llava.memory": r"multi_modal_projector\..*",
    "qwen2_vl": r"merger\..*",
    "qwen2_vl.memory": r"merger\..*",
    "swin": r"downsample\..*",
    "swin.memory": r"downsample\..*",
    "whisper": r"conv[12]",
}
LAYERS = {"jamba": 8, "jamba.memory": 8, "swin": 5, "swin.memory": 5}
every_model = pytest.mark.parametrize("model", MODELS)
models = st.sampled_from(sorted(MODELS))


def meaning(place: Address) -> tuple[int | None, str, str, int | None]:
    return place.layer, place.component, place.param, place.expert


@every_model
def test_every_name_is_located_once_and_in_order(model: str) -> None:
    places = locate(MODELS[model])
    assert list(places) == MODELS[model]
    assert [place.name for place in places.values()] == MODELS[model]


@every_model
def test_every_stack_has_all_its_layers(model: str) -> None:
    places = locate(MODELS[model]).values()
    count = LAYERS.get(model, 3)
    assert {place.stack for place in places if place.layer is not None} == set(EXPECTED[model])
    for stack in EXPECTED[model]:
        layers = {place.layer for place in places if place.stack == stack}
        assert layers - {None} == set(range(count))


@every_model
def test_every_tensor_of_a_block_is_in_a_layer(model: str) -> None:
    block = re.compile(r"(^|\.)(layers?|h|blocks?)\.\d+\.")
    for name, place in locate(MODELS[model]).items():
        assert (place.layer is not None) == bool(block.search(name)), name


@every_model
def test_standard_components_are_the_modules_that_they_should_be(model: str) -> None:
    places = locate(MODELS[model]).values()
    for stack, table in EXPECTED[model].items():
        standard, _, more = table.partition(" + ")
        wanted = dict(zip(STANDARD, standard.split(), strict=True))
        wanted |= dict(zip(more.split()[::2], more.split()[1::2], strict=True))
        for component, module in wanted.items():
            found = {
                place.module
                for place in places
                if (place.stack, place.component) == (stack, component)
            }
            if module == "-":
                assert not found, component
            else:
                assert module in found, component


@every_model
def test_only_what_is_listed_has_no_role(model: str) -> None:
    for place in locate(MODELS[model]).values():
        if not place.role:
            assert re.fullmatch(UNNAMED.get(model, "-"), place.component), place
            assert place.component == place.module


@every_model
def test_no_two_tensors_of_a_layer_mean_the_same(model: str) -> None:
    places = locate(MODELS[model]).values()
    meanings = Counter((place.stack, *meaning(place)) for place in places)
    assert [place for place, count in meanings.items() if count > 1] == []


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


def test_nested_lists_are_one_axis_in_file_order() -> None:
    places = locate(MODELS["swin"])
    prefix = "swin.encoder.layers"
    at = {
        name: places[f"{prefix}.{name}.weight"].layer
        for name in (
            "0.blocks.0.output.dense",
            "0.downsample.reduction",
            "1.blocks.0.output.dense",
            "1.blocks.1.output.dense",
            "1.downsample.reduction",
            "2.blocks.1.output.dense",
        )
    }
    assert list(at.values()) == [0, 0, 1, 2, 2, 4]


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


def test_lists_that_are_a_small_part_of_a_block_do_not_count_layers() -> None:
    inner = ["attention.self.query", "attention.self.key", "ffn.{}.intermediate.dense"]
    names = [
        f"encoder.layer.{i}.{module.format(n)}.weight"
        for i in range(3)
        for n in range(2)
        for module in inner
    ]
    places = locate(names)
    assert {place.layer for place in places.values()} == {0, 1, 2}
    assert places["encoder.layer.2.ffn.1.intermediate.dense.weight"].layer == 2


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
        "temporal_attention.key": "attn",
        "ffn.weird": "mlp",
        "some_layernorm": "norm",
        "mixer.in_proj": "other",
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


wrappers = st.lists(st.sampled_from([*WORDS["wrappers"], "_orig_mod", "my_lm"]), max_size=4)


@given(models, wrappers)
def test_a_prefix_on_all_names_changes_no_layer_and_no_component(
    model: str, prefix: list[str]
) -> None:
    plain = locate(MODELS[model])
    wrapped = locate([".".join([*prefix, name]) for name in MODELS[model]])
    for before, after in zip(plain.values(), wrapped.values(), strict=True):
        assert (before.stack, meaning(before)) == (after.stack, meaning(after))


@given(models, st.randoms(use_true_random=False))
def test_the_order_of_names_changes_nothing(model: str, random: Random) -> None:
    names = list(MODELS[model])
    random.shuffle(names)
    assert locate(names) == locate(MODELS[model])


@given(st.sampled_from(sorted({*MODELS} - {"swin", "swin.memory"})), st.data())
def test_layers_keep_their_numbers_wherever_they_go(model: str, data: st.DataObject) -> None:
    plain = locate(MODELS[model])
    numbers = range(LAYERS.get(model, 3))
    kept = data.draw(st.sets(st.sampled_from(numbers), min_size=1))
    to = dict(zip(kept, data.draw(st.permutations(range(100)))[: len(kept)], strict=True))
    moved = {}
    for name, place in plain.items():
        if place.layer is None:
            moved[name] = (None, place)
        elif place.layer in to:
            pattern = rf"((?:^|\.)(?:layers?|h|blocks?)\.){place.layer}(?=\.)"
            new = re.sub(pattern, rf"\g<1>{to[place.layer]}", name, count=1)
            moved[new] = (to[place.layer], place)
    for place, (layer, before) in zip(locate(moved).values(), moved.values(), strict=True):
        assert place.layer == layer
        assert (place.stack, place.component) == (before.stack, before.component)


# A T5 of which only norms are seen has sub-layers that are as alike as blocks.
@given(st.sampled_from(sorted({*MODELS} - {"t5", "swin", "swin.memory"})), st.data())
def test_a_few_modules_of_a_model_are_in_the_same_layers(model: str, data: st.DataObject) -> None:
    plain = locate(MODELS[model])
    modules = sorted({place.module for place in plain.values() if place.layer is not None})
    kept = data.draw(st.sets(st.sampled_from(modules), min_size=1))
    few = [name for name, place in plain.items() if place.module in kept]
    for name, place in locate(few).items():
        assert place.layer == plain[name].layer


HOSTILE = [
    "", ".", "...", "layers", "layers.", "layers.0", ".0.", "0", "0.0.0", "weight", ".weight",
    "layers.99999999999999999999.x", "layers.-1.x.weight", "layers.1e3.x.weight", "_weight",
    "_bias",
    "layers.٣.x.weight", "layers.0.\x00.weight", "层.0.权重", "layers.0x1.weight", "a..b..0..c",
    "model", "model.", "model.weight", "base_layer.", "_orig_mod.", "experts.0", "experts.expert_0",
    "layers.00.x.weight", "layers.0.x\n.weight", "0." * 10_000, "x." * 10_000 + "weight",
    "layers.0." * 3_000, "model." * 10_000, "experts.1." * 2_000 + "w",
]  # fmt: skip


def test_hostile_names_have_places_too() -> None:
    places = locate(HOSTILE)
    assert list(places) == HOSTILE
    for place in places.values():
        assert place.layer is None or 0 <= place.layer < 10**9
        assert place.block in {"attn", "mlp", "norm", "embed", "head", "other"}
        assert place.component or place.name == ""


words = st.sampled_from(
    ["layers", "0", "1", "7", "h", "experts", "expert_1", "encoder", "decoder", "vision_tower",
     "model", "weight", "", "x", "mlp", "_orig_mod", "text_model", "é", "12345678901"]
)  # fmt: skip
names = st.lists(words, max_size=8).map(".".join) | st.text(max_size=12)


@given(st.lists(names, max_size=20), st.randoms(use_true_random=False))
def test_any_names_are_located_the_same_in_any_order(many: list[str], random: Random) -> None:
    places = locate(many)
    assert list(places) == list(dict.fromkeys(many))
    random.shuffle(many)
    assert locate(many) == places


def test_a_hundred_thousand_names_are_no_trouble() -> None:
    # With a cost that grew faster than the names, each of these would take minutes.
    huge = [f"layers.{i % 64}.m{i}.y.weight" for i in range(30_000)]
    huge += [f"t{i}.layers.0.m.weight" for i in range(30_000)]
    huge += [f"layers.{i}.mlp.experts.{e}.w1.weight" for i in range(40) for e in range(1000)]
    assert len(locate(huge)) == 100_000


@given(models, wrappers)
def test_stripping_wrappers_twice_is_stripping_once(model: str, prefix: list[str]) -> None:
    for name in MODELS[model]:
        once = strip_wrappers(".".join([*prefix, name]))
        assert strip_wrappers(once) == once
        assert once.endswith(name.rpartition(".")[2])


@pytest.mark.parametrize("model", ["llava", "qwen2_vl"])
def test_stripped_names_of_file_and_memory_agree(model: str) -> None:
    in_file = {strip_wrappers(name) for name in MODELS[model]}
    in_memory = {strip_wrappers(name) for name in MODELS[f"{model}.memory"]}
    assert in_file == in_memory
    assert len(in_file) == len(MODELS[model])


@every_model
def test_stripping_wrappers_makes_no_two_names_one(model: str) -> None:
    assert len({strip_wrappers(name) for name in MODELS[model]}) == len(MODELS[model])


def test_standard_components_come_first_in_their_order() -> None:
    wanted = [*STANDARD, "attn.cross_q", "mlp.z", "mlp.router", "mlp.shared_up", "norm.input"]
    wanted += ["embed.tokens", "head.lm", "conv1", "merger.mlp.0"]
    assert component_order(reversed(wanted)) == wanted
    assert component_order(["attn.o", "attn.qkv", "attn.o"]) == ["attn.qkv", "attn.o"]


@given(models, st.randoms(use_true_random=False))
def test_column_order_depends_on_the_set_only(model: str, random: Random) -> None:
    components = [place.component for place in locate(MODELS[model]).values()]
    ordered = component_order(components)
    random.shuffle(components)
    assert component_order(components) == ordered
    assert set(ordered) == set(components)


def test_addresses_travel_to_workers() -> None:
    place = locate(["model.layers.0.mlp.experts.3.w1.weight"])
    assert pickle.loads(pickle.dumps(place)) == place


def test_tables_never_contradict_each_other() -> None:
    seen: dict[tuple[str, str], str] = {}
    for table in TABLES.values():
        assert set(table) <= {"when", "layer", "outside"}
        for where in {"layer", "outside"} & set(table) if "when" not in table else ():
            for module, component in table[where].items():
                assert seen.setdefault((where, module), component) == component


@pytest.mark.parametrize("family", TABLES)
def test_tables_speak_of_known_blocks_in_two_words(family: str) -> None:
    for where in ("layer", "outside"):
        for module, component in TABLES[family].get(where, {}).items():
            assert re.fullmatch(r"(attn|mlp|norm|embed|head)\.[a-z_]+", component), component
            assert len(module.split(".")) <= 6
