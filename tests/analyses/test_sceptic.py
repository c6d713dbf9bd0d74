"""No sentence is false: what a sceptic planted, and what may not be said of it."""

from __future__ import annotations

import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.findings import RULES
from ftdiff.reports.summary import summary
from ftdiff.tensors import Array
from tests.analyses.test_findings import diff_of, noise, said

NAMES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def weights(layers: int = 24, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        f"model.layers.{layer}.{name}.weight": rng.normal(size=(24, 24)).astype(np.float32)
        for layer in range(layers)
        for name in NAMES
    }


def moved(base: dict[str, Array], size: float = 0.01, seed: int = 1) -> dict[str, Array]:
    """Return each tensor with a change of exactly this relative norm."""
    rng = np.random.default_rng(seed)
    steps = {name: rng.normal(size=W.shape) for name, W in base.items()}
    scaled = {n: size * d * np.linalg.norm(base[n]) / np.linalg.norm(d) for n, d in steps.items()}
    return {name: (W + scaled[name]).astype(np.float32) for name, W in base.items()}


@pytest.mark.parametrize("damage", ["zeroed", "flipped", "pruned", "nan"])
def test_no_size_is_likened_to_published_ones_where_damage_made_it(damage: str) -> None:
    base = weights(6)
    tuned = moved(base)
    assert said(ftdiff.compare(base, tuned), "regime")
    name = "model.layers.2.mlp.up_proj.weight"
    if damage == "pruned":
        tuned = {n: np.where(np.arange(24) % 2, W, np.float32(0)) for n, W in base.items()}
    else:
        harm = {"zeroed": 0 * base[name], "flipped": -base[name], "nan": base[name] * np.nan}
        tuned[name] = harm[damage]
    assert not said(ftdiff.compare(base, tuned), "regime")


def test_no_size_and_no_lift_is_told_of_rounding() -> None:
    X = noise() * 0 + 0.0012
    X["attn.k"] = 0.009
    clear, drowned = diff_of(X, floor=1e-6), diff_of(X, floor=0.1)
    for rule in ("regime", "lift"):
        assert [*RULES[rule].generate(clear)] and not [*RULES[rule].generate(drowned)]


def test_depth_is_of_the_layers_that_there_are_and_of_those_that_moved() -> None:
    base = weights()
    one = {
        **base,
        "model.layers.3.mlp.up_proj.weight": base["model.layers.3.mlp.up_proj.weight"] + 1,
    }
    (row,) = said(ftdiff.compare(base, one), "depth-power")
    assert row.message == (
        "Matrices moved in 1 of 24 layers: under 6, nothing can be said of depth."
    )
    (drowned,) = said(diff_of(noise(), floor=1.0), "depth-power")
    assert drowned.message.startswith("Too few cells stand out of rounding")


def test_nothing_is_even_where_layers_or_components_did_not_move() -> None:
    base = weights()
    tuned = moved(base)
    assert said(ftdiff.compare(base, tuned), "uniform")
    assert not said(ftdiff.compare(base, tuned), "still-layers")
    half = {n: W if int(n.split(".")[2]) < 12 else tuned[n] for n, W in base.items()}
    (row,) = said(ftdiff.compare(base, half), "still-layers")
    assert row.message == "Layers 0–11 of 24 did not move." and row.evidence["of"] == 24
    assert not said(ftdiff.compare(base, half), "uniform")
    attention = {n: W if ".mlp." in n else tuned[n] for n, W in base.items()}
    assert not said(ftdiff.compare(base, attention), "uniform")
    assert not said(ftdiff.compare(base, attention), "still-layers")
    normed = {**{f"model.layers.{i}.input_layernorm.weight": np.ones(24) for i in range(24)}}
    stirred = {name: W + 0.1 for name, W in normed.items()}
    assert not said(ftdiff.compare({**base, **normed}, {**half, **stirred}), "still-layers")
    assert not said(ftdiff.compare(base, base), "still-layers")


@pytest.mark.parametrize("shape", ["straight", "power", "falling"])
def test_the_size_of_a_trend_is_that_of_the_shape_it_has(shape: str) -> None:
    at = np.linspace(0, 1, 24)
    curve = {"straight": 1 + 2 * at, "power": 3**at, "falling": 3 - 2 * at}[shape]
    X = noise(layers=24, spread=0.005)
    X = X.mul(curve, axis=0)
    (row,) = said(X, "depth-trend")
    percent = row.evidence["trends"][0]["percent"]
    assert percent == pytest.approx(-66.7 if shape == "falling" else 200, abs=4)
    exact = said(X * 0 + 0.01 * np.tile(curve, (X.shape[1], 1)).T, "depth-trend")
    assert " from " not in exact[0].message and "over 24 layers." in exact[0].message


def test_no_extremes_are_told_that_print_the_same() -> None:
    base = weights()
    diff = ftdiff.compare(base, moved(base))
    assert not any("moved most" in line for line in summary(diff))
    (even,) = said(diff, "uniform")
    assert "90% of 96 cells are 0.01 to three digits, and no pattern" in even.message
    apart = {n: W * 1.01 if "q_proj" in n else W for n, W in moved(base).items()}
    assert any("attn.q moved most" in line for line in summary(ftdiff.compare(base, apart)))


def test_one_rescale_of_many_components_is_one_sentence_with_its_digits() -> None:
    base = weights()

    def control(factors: dict[str, float]) -> list[str]:
        tuned = {n: W.astype(np.float64) * factors.get(n.split(".")[4], 1) for n, W in base.items()}
        return [one.message for one in said(ftdiff.compare(base, tuned), "scale-control")]

    names = ("q_proj", "v_proj", "up_proj", "down_proj")
    (every,) = control(dict.fromkeys(names, 1.0005))
    assert every == (
        "All 4 components: 100% of the squared change is one rescale of the base, × 1.0005: "
        "their relative norm of 0.0005 is mostly length, not direction."
    )
    two = control({"q_proj": 1.02, "v_proj": 1.02, "up_proj": 1.03})
    assert [row.partition(":")[0] for row in two] == ["attn.q, attn.v", "mlp.up"]
    assert "× 1.030: its relative norm of 0.03" in two[1]
    assert not control(dict.fromkeys(names, 1 + 1e-7))
