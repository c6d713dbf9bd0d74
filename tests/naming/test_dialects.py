"""Two public spellings of one architecture are tables that hold both ways."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from ftdiff.naming.dialect_tables import Dialect, read_dialects
from ftdiff.naming.flattened import unflattened
from ftdiff.naming.fused import Split, fused_name, leaf, spellings, splits
from ftdiff.naming.matching import Spellings, pair_names
from ftdiff.naming.towers import read_towers, same_tower, tower_of
from ftdiff.naming.translation import Translation, respelled, sides_of, translations

NAMES = Path(__file__).parents[2] / "fixtures" / "names"


def _known(dialect: Dialect) -> list[str]:
    """Return a name for every entry of a table, read one way."""
    found = []
    for head, places in dialect.blocks.items():
        at = head.replace("#", "7")
        for _, inside in places:
            if inside is None:
                found.append(f"{at}.some.module.weight")
                continue
            found += [f"{at}.{name}" for name in dialect.tensors.get(inside, ())]
            modules = dialect.modules.get(inside, ())
            found += [f"{at}.{name}.{param}" for name in modules for param in ("weight", "bias")]
    found += dialect.tensors.get("outside", ())
    found += [f"{name}.weight" for name in dialect.modules.get("outside", ())]
    return found


@pytest.mark.parametrize("dialect", read_dialects(), ids=lambda one: f"{one.name}, {one.sides[0]}")
def test_a_table_is_inverted_by_reading_it_the_other_way(dialect: Dialect) -> None:
    (back,) = (
        one
        for one in read_dialects()
        if one.name == dialect.name and one.sides == dialect.sides[::-1]
    )
    names = _known(dialect)
    assert names
    for name in names:
        words = [*dialect.of(name)]
        assert words, name
        for word in words:
            for there in word.names:
                returned = [*back.of(there)]
                assert any(name in one.names for one in returned), (name, there)
                assert {one.rows for one in returned} == {word.rows}


@pytest.mark.parametrize("dialect", read_dialects(), ids=lambda one: f"{one.name}, {one.sides[0]}")
def test_no_two_names_become_the_same(dialect: Dialect) -> None:
    whole = {}
    for name in _known(dialect):
        for word in dialect.of(name):
            if word.part_of is None and len(word.names) == 1:
                assert whole.setdefault(word.names[0], name) == name or _is_upsampler(name)


def _is_upsampler(name: str) -> bool:
    """Say whether a name is of the one module whose place depends on what stands before it."""
    return name.startswith("output_blocks.") and ".conv." in f"{name}."


def test_parts_come_in_the_order_of_the_rows() -> None:
    (fused,) = (
        one for one in respelled("double_blocks.3.txt_attn.qkv.weight") if len(one[1].names) == 3
    )
    for index, part in enumerate(fused[1].names):
        (back,) = (one for _, one in respelled(part) if one.dialect == "flux")
        assert back.part_of == index
        assert back.names == ("double_blocks.3.txt_attn.qkv.weight",)


def test_real_names_of_language_models_are_in_no_table() -> None:
    for path in NAMES.glob("*.json"):
        if path.stem in ("clip",):  # it is what pipelines encode texts with
            continue
        names = json.loads(path.read_text())
        known = [name for name in names if next(translations(name), None) is not None]
        assert not known, (path.name, known[:3])


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("unet.conv_in.weight", "unet"),
        ("model.diffusion_model.out.0.weight", "unet"),
        ("model.layers.0.mlp.up_proj.weight", ""),
        ("transformer.h.0.attn.c_attn.weight", ""),
        ("text_encoder.text_model.x.weight", "text_1"),
        ("text_encoder_2.text_model.x.weight", "text_2"),
        ("conditioner.embedders.1.model.ln_final.bias", "text_2"),
        ("first_stage_model.decoder.conv_in.weight", "vae"),
    ],
)
def test_a_tower_is_told_by_its_words(name: str, tower: str) -> None:
    assert tower_of(name) == tower


def test_a_name_of_one_tower_is_never_found_in_another() -> None:
    end = "text_model.encoder.layers.0.mlp.fc1.weight"
    for first in ("conditioner.embedders.0.transformer", "cond_stage_model.transformer"):
        base = {f"{first}.{end}": (4, 4)}
        assert Spellings(base).find(f"text_encoder.{end}") in base
        assert Spellings(base).find(f"text_encoder_2.{end}") is None
        assert not same_tower(f"text_encoder_2.{end}", next(iter(base)))


def test_spellings_are_paired_one_to_one() -> None:
    base = {"model.diffusion_model.output_blocks.5.2.conv.weight": (8, 8, 3, 3)}
    tuned = {"up_blocks.1.upsamplers.0.conv.weight": (8, 8, 3, 3)}
    assert pair_names(base, tuned) == {next(iter(tuned)): next(iter(base))}
    assert pair_names(tuned, base) == {next(iter(base)): next(iter(tuned))}


def test_a_table_says_what_its_sides_are_called() -> None:
    for dialect in read_dialects():
        assert {*sides_of(dialect.name)} == {*dialect.sides}
        assert {*dialect.towers} <= {*read_towers()}


WORDS = ("self_attn", "q_proj", "mlp", "fc1", "to_out", "transformer_blocks", "img_attn", "qkv")


@pytest.mark.parametrize("words", [*product(WORDS, ("0", "12"), WORDS)])
def test_known_words_are_cut_out_of_flattened_names(words: tuple[str, ...]) -> None:
    assert unflattened("_".join(words)) == ".".join(words)


@pytest.mark.parametrize("name", ["", "_", "a__b_3", "unknown_words_here", "x_0", "12"])
def test_flattening_again_gives_the_name(name: str) -> None:
    assert unflattened(name).replace(".", "_") == name


def test_what_may_be_cut_in_two_ways_stays_one_word() -> None:
    assert unflattened("blocks_3_strange_proj_in") == "blocks.3.strange_proj_in"


def test_a_fused_name_has_parts_beside_it() -> None:
    names = [*splits("layers.0.self_attn.in_proj_weight")]
    assert names[0] == Split(tuple(f"layers.0.self_attn.{x}_proj.weight" for x in "qkv"))
    assert "layers.0.attention.q_proj.bias" in spellings("layers.0.self_attn.qkv_proj.bias")
    assert leaf("layers.0.self_attn.in_proj_bias") == "in_proj"
    assert not [*splits("layers.0.mlp.experts.gate_up_proj")]


@pytest.mark.parametrize(
    ("model_type", "layout"), [("", "unknown"), ("bloom", "heads"), ("chatglm", "blocks")]
)
def test_the_model_type_tells_the_order_of_rows(model_type: str, layout: str) -> None:
    found = next(splits("h.0.self_attention.query_key_value.weight", model_type))
    assert found.layout == layout


def test_a_fused_tensor_is_called_as_its_parts_would_be() -> None:
    parts = tuple(f"single_transformer_blocks.0.{x}.weight" for x in ("attn.to_q", "proj_mlp"))
    assert fused_name(Split(parts), parts, "single_blocks.0.linear1.weight") == (
        "single_transformer_blocks.0.linear1.weight"
    )
    heads = tuple(f"layers.0.attn.{x}_proj.weight" for x in "qkv")
    assert leaf(fused_name(Split(heads), heads, "x.qkv.weight")) == "qkv_proj"
    other = fused_name(Split(heads, "heads"), heads, "x.query_key_value.weight")
    assert leaf(other) == "query_key_value"


def test_a_translation_says_whether_it_is_the_same_tensor() -> None:
    assert Translation(("a",)).is_same
    assert not Translation(("a", "b")).is_same
    assert not Translation(("a",), "swapped").is_same
    assert not Translation(("a",), part_of=0).is_same
