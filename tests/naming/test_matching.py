from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftdiff.naming.matching import Spellings, pair_names

_NAMES = {f"model.layers.{i}.{part}": (4, 4) for i in range(3) for part in ("a.weight", "b.weight")}


@given(st.text("abc.", max_size=8))
def test_a_common_prefix_changes_no_pair(prefix: str) -> None:
    prefix = prefix.strip(".")
    start = f"{prefix}." if prefix and ".." not in prefix else ""
    tuned = {start + name: shape for name, shape in _NAMES.items()}
    assert pair_names(_NAMES, tuned) == {start + name: name for name in _NAMES}


def test_a_name_is_never_paired_twice() -> None:
    tuned = {"x.layers.0.a.weight": (4, 4), "y.layers.0.a.weight": (4, 4)}
    assert pair_names(_NAMES, tuned) == {}


def test_two_towers_with_the_same_ends_are_not_guessed_between() -> None:
    base = {"encoder.layers.0.a.weight": (4, 4), "decoder.layers.0.a.weight": (4, 4)}
    assert Spellings(base).find("tower.layers.0.a.weight") is None
    assert pair_names(base, {"decoder.layers.0.a.weight": (4, 4)}) == {
        "decoder.layers.0.a.weight": "decoder.layers.0.a.weight"
    }


def test_another_width_is_not_the_same_tensor() -> None:
    assert Spellings(_NAMES).find("m.layers.0.a.weight", (4, 8)) is None
    assert Spellings(_NAMES).find("m.layers.0.a.weight", (9, 4)) == "model.layers.0.a.weight"


def test_what_is_spelled_the_same_is_the_same_whatever_its_shape() -> None:
    assert pair_names({"w": (2, 3)}, {"w": (5, 7)}) == {"w": "w"}


def test_what_is_outside_the_layers_has_the_words_in_front_that_all_inside_have() -> None:
    outside = {"head.weight": (9, 4), "model.norm.weight": (4,), "model.embed.weight": (9, 4)}
    base = {**_NAMES, **outside}
    tuned = {f"actor.{name}": shape for name, shape in base.items()}
    assert pair_names(base, tuned) == {f"actor.{name}": name for name in base}
    other = {**tuned, "critic.layers.0.c.weight": (4, 4), "actor.head.weight": (9, 5)}
    pairs = pair_names(base, other)
    assert "actor.head.weight" not in pairs and "critic.layers.0.c.weight" not in pairs
    half = {name if ".0." in name else f"actor.{name}": shape for name, shape in base.items()}
    assert "actor.head.weight" not in pair_names(base, half)
