"""Stacks in a model's own order, under the names that people use, whatever the file calls them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.naming.stack_order import lone_word, row_word, stack_labels, stack_order

MODELS = [
    (["unet.down_blocks", "unet.mid_block", "unet.up_blocks", "text"],
     ["down", "mid", "up", "text encoder"]),
    (["unet.mid_block.attentions", "unet.mid_block.resnets"], ["mid", "mid resnets"]),
    (["", "single_transformer_blocks", "text"], ["double", "single", "text encoder"]),
    (["diffusion_model.double_blocks", "diffusion_model.single_blocks",
      "text_encoders.clip_l.text", "text_encoders.t5xxl.encoder"],
     ["double", "single", "text encoder clip_l", "text encoder t5xxl"]),
    (["diffusion_model.input_blocks", "diffusion_model.middle_block.1",
      "diffusion_model.output_blocks", "conditioner.embedders.0.text", "conditioner.embedders.1"],
     ["input", "middle", "output", "text encoder 0", "text encoder 1"]),
    (["vision", ""], ["vision", "language"]),
    (["vision", "qformer", ""], ["vision", "qformer", "language"]),
    (["vision", "audio", ""], ["vision", "audio", "language"]),
    (["vision", "text"], ["vision", "text"]),
    (["encoder", "decoder"], ["encoder", "decoder"]),
    (["text", "text_encoder_2.text"], ["text encoder", "text encoder 2"]),
    (["", "text"], ["transformer", "text encoder"]),
    (["encoder.down_blocks", "encoder.mid_block", "decoder.mid_block", "decoder.up_blocks"],
     ["encoder down", "encoder mid", "decoder mid", "decoder up"]),
    (["", "mtp"], ["main", "mtp"]),
    (["", "blocks_10", "blocks_9"], ["main", "blocks_9", "blocks_10"]),
    ([""], [""]),
]  # fmt: skip


@pytest.mark.parametrize(("stacks", "labels"), MODELS)
def test_stacks_stand_in_the_models_order_under_their_names(
    stacks: list[str], labels: list[str]
) -> None:
    ordered = stack_order(reversed(stacks))
    found = stack_labels(stacks)
    assert [found[stack] for stack in ordered] == labels


@given(st.lists(st.text("abdefmiuvxt._0123", max_size=20), min_size=1, unique=True))
def test_no_two_stacks_have_one_label_and_none_is_lost(stacks: list[str]) -> None:
    labels = stack_labels(stacks)
    assert [*labels] == stacks and len({*labels.values()}) == len(stacks)
    assert sorted(stack_order(stacks)) == sorted(stacks)
    assert stack_order(stacks) == stack_order(sorted(stacks))


def test_rows_begin_with_the_word_of_their_blocks() -> None:
    assert row_word("unet.up_blocks", ["unet.up_blocks", "text"]) == "up"
    assert row_word("", ["", "single_blocks"]) == "double"
    assert row_word("", ["", "vision"]) == row_word("encoder", ["encoder", "decoder"]) == ""
    assert row_word("a.fine_blocks", []) == "fine"
    assert row_word("my_transformer_blocks", []) == ""
    assert lone_word(f"up_blocks.{i}.resnets.0.conv1.weight" for i in range(3)) == "up"
    assert lone_word(["up_blocks.0.a.weight", "down_blocks.0.a.weight"]) == ""
    assert lone_word([]) == ""
