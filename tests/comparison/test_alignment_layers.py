"""Laws of matching: a permutation is found back, and the numbers are those without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ftdiff
from ftdiff.comparison.alignment.layer_match import match
from ftdiff.comparison.alignment.layer_samples import Layer, Stack
from ftdiff.comparison.alignment.samples import sample
from ftdiff.tensors import ArrayTensor

LAYERS, HIDDEN = 6, 24
PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
Model = dict[str, Any]


def model(seed: int = 0, layers: int = LAYERS, prefix: str = "model.layers") -> Model:
    draw = np.random.default_rng(seed)
    found = {"model.embed_tokens.weight": draw.standard_normal((40, HIDDEN))}
    for layer in range(layers):
        for part in PARTS:
            name = f"{prefix}.{layer}.{part}.weight"
            found[name] = draw.standard_normal((HIDDEN, HIDDEN))
        found[f"{prefix}.{layer}.input_layernorm.weight"] = np.ones(HIDDEN)
    return {name: W.astype(np.float32) for name, W in found.items()}


def nudged(base: Model, by: float) -> Model:
    draw = np.random.default_rng(1)
    return {
        n: W + np.float32(by) * draw.standard_normal(W.shape, np.float32) for n, W in base.items()
    }


def taken(state: Model, order: list[int]) -> Model:
    found = {name: W for name, W in state.items() if ".layers." not in name}
    for new, old in enumerate(order):
        start = f"model.layers.{old}."
        found |= {
            f"model.layers.{new}.{name.removeprefix(start)}": W
            for name, W in state.items()
            if name.startswith(start)
        }
    return found


def numbers(diff: ftdiff.Diff) -> dict[str, tuple[Any, ...]]:
    frame = diff.frame[["tensor", "layer", "component", "status", "delta_sq", "base_sq"]]
    return {str(row[0]): tuple(row[1:]) for row in frame.astype(object).itertuples(index=False)}


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(LAYERS)), st.sampled_from([0.0, 0.05, 0.5]))
def test_a_permutation_is_found_back_with_the_numbers_it_hides(order: list[int], by: float) -> None:
    base = model()
    tuned = nudged(base, by)
    assert numbers(ftdiff.compare(base, taken(tuned, order))) == numbers(
        ftdiff.compare(base, tuned)
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, LAYERS - 1), min_size=1, max_size=9), st.sampled_from([0.0, 0.05]))
def test_any_choice_of_layers_is_each_held_against_its_own(order: list[int], by: float) -> None:
    base = model()
    diff = ftdiff.compare(base, taken(nudged(base, by), order))
    frame = diff.frame[diff.frame["layer"].notna()]
    assert {*frame["status"]} <= {"changed", "identical", "removed"}
    assert {*frame[frame["status"] == "removed"]["layer"]} == {*range(LAYERS)} - {*order}
    held = frame[frame["status"] != "removed"]
    assert sorted(held[held["component"] == "attn.q"]["layer"]) == sorted(order)
    moved = held[held["component"] != "norm.input"]
    assert (moved["delta_sq"] < 0.01 * moved["base_sq"]).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=8), st.integers(1, 8), st.integers(0, 99))
def test_every_layer_has_one_fate(order: list[int], count: int, seed: int) -> None:
    noise = 0.2 * np.random.default_rng(seed).random((len(order), count))
    likeness = noise + np.array([[0.7 * (b == t) for b in range(count)] for t in order])
    found = match(range(count), range(len(order)), likeness)
    fates = [*found.home, *found.copies, *found.inserted]
    assert sorted(fates) == [*range(len(order))]
    assert len({*found.home.values()}) == len(found.home)
    assert sorted([*found.home.values(), *found.removed]) == [*range(count)]


@pytest.mark.parametrize("side", [2, 4])
def test_chance_puts_no_layer_elsewhere(side: int) -> None:
    """The null: 12 layers of 4 small matrices, every value drawn anew on both sides."""
    draw = np.random.default_rng(0)

    def layers() -> dict[int, Layer]:
        values = draw.standard_normal((12, len(PARTS), side, side)).astype(np.float32)
        return {
            n: {(part, "weight", None): ArrayTensor(W) for part, W in zip(PARTS, one, strict=True)}
            for n, one in enumerate(values)
        }

    numbers = tuple(range(12))
    for _ in range(200):
        found = Stack(layers(), layers()).likeness()
        assert found is not None and match(numbers, numbers, *found).keeps_numbers


@pytest.mark.parametrize("side", [2, 4, 8])
def test_small_layers_that_moved_are_found_all_the_same(side: int) -> None:
    draw = np.random.default_rng(0)
    values = draw.standard_normal((12, len(PARTS), side, side)).astype(np.float32)
    order = [*range(5), 3, *range(5, 12)]
    tuned = values[order] + np.float32(0.01) * draw.standard_normal(
        (13, len(PARTS), side, side), np.float32
    )
    made = [
        {
            f"model.layers.{n}.{part}.weight": W
            for n, one in enumerate(side_)
            for part, W in zip(PARTS, one, strict=True)
        }
        for side_ in (values, tuned)
    ]
    diff = ftdiff.compare(*made)
    assert {*diff.frame["status"]} == {"changed"}
    assert (diff.frame["delta_sq"] < 0.01 * diff.frame["base_sq"]).all()


def test_order_is_kept_where_two_layers_are_the_same() -> None:
    likeness = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert match(range(3), range(3), likeness).home == {0: 0, 1: 1, 2: 2}
    assert match(range(2), range(1), likeness[:1, :2]).home == {0: 0}


@pytest.mark.parametrize("prefix", ["language_model.model.layers", "layers"])
def test_another_prefix_hides_no_layer(prefix: str) -> None:
    base = model()
    tuned = taken(base, [1, 0, 2, 3, 4, 5])
    other = {name.replace("model.layers", prefix): W for name, W in tuned.items()}
    assert {*ftdiff.compare(base, other).frame["status"]} == {"identical"}


def test_two_towers_are_matched_each_by_itself() -> None:
    towers = {
        **{f"vision_tower.{n}": W for n, W in model(3, 3).items() if "embed" not in n},
        **{f"language_model.{n}": W for n, W in model(4, 4).items()},
    }
    turned = {
        name.replace("vision_tower.model.layers.0", "x")
        .replace("vision_tower.model.layers.2", "vision_tower.model.layers.0")
        .replace("x.", "vision_tower.model.layers.2."): W
        for name, W in towers.items()
    }
    diff = ftdiff.compare(towers, turned)
    assert {*diff.frame["status"]} == {"identical"}
    (told,) = diff.about["reasons"]
    assert told["stack"] == "vision" and told["home"] == {"0": 2, "1": 1, "2": 0}


def test_a_parameter_that_only_one_side_has_goes_with_its_layer() -> None:
    base = model()
    tuned = taken(base, [5, 4, 3, 2, 1, 0])
    tuned["model.layers.0.self_attn.q_proj.bias"] = np.ones(HIDDEN, np.float32)
    del tuned["model.layers.1.mlp.up_proj.weight"]
    frame = ftdiff.compare(base, tuned).frame
    (added,) = frame[frame["status"] == "added"].to_dict("records")
    assert (added["layer"], added["component"], added["param"]) == (5, "attn.q", "bias")
    assert [*frame[frame["status"] == "removed"]["layer"]] == [4]


def test_nothing_is_read_of_the_same_bytes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file

    save_file(model(), tmp_path / "model.safetensors")
    read = []
    for where in ("layer_samples", "samples"):
        name = f"ftdiff.comparison.alignment.{where}.sample"
        monkeypatch.setattr(name, lambda *given: read.append(given))
    diff = ftdiff.compare(tmp_path / "model.safetensors", tmp_path / "model.safetensors")
    assert not read and diff.about["kinship"]["verdict"] == "identical"


def test_what_has_no_direction_is_like_nothing() -> None:
    zero, nan = np.zeros((4, 8), np.float32), np.full((4, 8), np.nan, np.float32)
    one = sample(ArrayTensor(np.ones((4, 8), np.float32)), 2)
    for values in (zero, nan):
        other = sample(ArrayTensor(values), 2)
        assert one is not None and other is not None and one.cosine(other) == 0
    assert sample(ArrayTensor(np.ones(8, np.float32)), 2) is None
    assert sample(ArrayTensor(np.ones((2, 8), np.int64)), 2) is None
