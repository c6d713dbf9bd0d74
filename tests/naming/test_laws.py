"""What must hold for the places of any names: real ones, wrapped, moved, few, or hostile."""

from __future__ import annotations

import json
import pickle
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.naming import Address, component_order, locate, strip_wrappers
from ftdiff.naming.tables import read_words
from tests.conftest import FIXTURES

NAMES = FIXTURES / "names"
MODELS = {
    path.name[: -len(".json")]: list(json.loads(path.read_text()))
    for path in sorted(NAMES.glob("*.json"))
}
LISTS = "layers?|h|blocks?|conv_layers|deepstack_merger_list|albert_layer_groups"
models = st.sampled_from(sorted(MODELS))
wrappers = st.lists(
    st.sampled_from([*sorted(read_words().wrappers), "_orig_mod", "my_lm"]), max_size=4
)


def meaning(place: Address) -> tuple[int | None, str, str, int | None]:
    return place.layer, place.component, place.param, place.expert


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


# A lone block must be in a list of a known name.
@given(st.sampled_from(sorted({*MODELS} - {"wav2vec2", "qwen3_vl"})), st.data())
def test_layers_keep_their_numbers_wherever_they_go(model: str, data: st.DataObject) -> None:
    plain = locate(MODELS[model])
    numbers = sorted({place.layer for place in plain.values()} - {None})
    kept = data.draw(st.sets(st.sampled_from(numbers), min_size=1))
    to = dict(zip(kept, data.draw(st.permutations(range(100)))[: len(kept)], strict=True))
    moved = {}
    for name, place in plain.items():
        if place.layer is None:
            moved[name] = (None, place)
        elif place.layer in to:
            pattern = rf"((?:^|\.)(?:{LISTS})\.){place.layer}(?=\.)"
            new = re.sub(pattern, rf"\g<1>{to[place.layer]}", name, count=1)
            moved[new] = (to[place.layer], place)
    for place, (layer, before) in zip(locate(moved).values(), moved.values(), strict=True):
        assert place.layer == layer
        assert (place.stack, place.component) == (before.stack, before.component)


# A T5 of which only norms are seen has sub-layers that are as alike as blocks; one norm of
# Wav2Vec2's first convolution does not make a list.
@given(st.sampled_from(sorted({*MODELS} - {"t5", "wav2vec2"})), st.data())
def test_a_few_modules_of_a_model_are_in_the_same_layers(model: str, data: st.DataObject) -> None:
    plain = locate(MODELS[model])
    modules = sorted({place.module for place in plain.values() if place.layer is not None})
    kept = data.draw(st.sets(st.sampled_from(modules), min_size=1))
    few = [name for name, place in plain.items() if place.module in kept]
    for name, place in locate(few).items():
        assert place.layer == plain[name].layer


BLOCKS = {"attn", "mlp", "ssm", "conv", "cond", "norm", "embed", "head", "other"}
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
        assert place.block in BLOCKS
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


@pytest.mark.parametrize("model", MODELS)
def test_stripping_wrappers_makes_no_two_names_one(model: str) -> None:
    assert len({strip_wrappers(name) for name in MODELS[model]}) == len(MODELS[model])


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
