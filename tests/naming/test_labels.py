"""Names in pictures: short, by their role, and never two alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftdiff.naming.labels import column_labels, component_of, distinct, label_of
from ftdiff.naming.projections import column_order, is_projection
from ftdiff.naming.token_text import readable


def test_a_long_name_loses_its_middle_and_not_its_difference() -> None:
    stem = "transformer_blocks.attn.processor." + "deep." * 9
    names = [f"{stem}left.{'x' * 50}", f"{stem}right.{'x' * 50}", "short"]
    found = distinct(names, 30)
    assert found[2] == "short" and all(len(name) <= 30 for name in found)
    assert "left" in found[0] and "right" in found[1]
    assert all(name.startswith("transf") and "…" in name for name in found[:2])


@given(
    st.lists(st.text("ab.", min_size=1, max_size=60), min_size=1, max_size=12, unique=True),
    st.integers(8, 40),
)
def test_names_that_differ_are_never_made_equal(names: list[str], most: int) -> None:
    found = distinct(names, most)
    assert len({*found}) == len(names)
    assert all(len(text) <= most for text in found)
    assert all(text == name for text, name in zip(found, names, strict=True) if len(name) <= most)


def test_columns_are_called_by_their_role() -> None:
    names = ["attn.q", "attn.cross_q", "attn.txt_o", "mlp.up", "conv1d", "custom.block.proj"]
    found = column_labels(names)
    assert found == ["self q", "cross q", "attn. txt_o", "mlp. up", "conv1d", "custom. block.proj"]
    assert column_labels(["attn.q", "mlp.up"]) == ["attn. q", "mlp. up"]
    assert column_labels(["attn.q"], every=["attn.cross_o"]) == ["self q"]
    assert [component_of(name) for name in ("self q", "cross kv", "mlp. up")] == [
        "attn.q", "attn.cross_kv", "mlp.up",
    ]  # fmt: skip
    assert label_of("0.5") == "0.5"


def test_the_second_attention_follows_the_first() -> None:
    names = [f"attn.{kind}{role}" for kind in ("cross_", "") for role in "ovkq"]
    names += ["mlp.o_down", "mlp.down", "mlp.up", "norm.q", "attn.sinks"]
    assert column_order(names) == [
        *(f"attn.{role}" for role in "qkvo"),
        *(f"attn.cross_{role}" for role in "qkvo"),
        *("mlp.up", "mlp.down", "mlp.o_down", "norm.q", "attn.sinks"),
    ]
    assert is_projection("attn.txt_qkv") and not is_projection("attn.sinks")


def test_tokens_are_the_text_that_they_stand_for() -> None:
    assert readable(["Ġthe", "é", "cafÃ©", "ĊĊ", "ħ"]) == ["␣the", "é", "café", "⏎⏎", "ħ"]
    assert readable(["▁the", "▁▁", "<0x09>", "<0xE2>"]) == ["␣the", "␣␣", "⇥", "<0xE2>"]
    assert readable(["##ing", "Ã©"]) == ["##ing", "Ã©"]
