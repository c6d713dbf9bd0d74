"""Planted structures are found where they were planted, and noise gives no sentence."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ftdiff
from ftdiff.analyses.findings import (
    RULES,
    concentration,
    findings,
    groups,
    nulls,
    power,
    structural,
)
from ftdiff.analyses.findings.contrasts import two_way
from ftdiff.analyses.findings.curves import curves
from ftdiff.analyses.findings.outliers import grubbs
from ftdiff.comparison.grid import grids
from ftdiff.errors import BadCall, UnknownName
from tests.conftest import FIXTURES

NAMES = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate")
LAYERS = 28
MODULES = {
    "attn.q": "self_attn.q_proj", "attn.k": "self_attn.k_proj", "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.o_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj",
    "mlp.gate": "mlp.gate_proj",
}  # fmt: skip


def noise(seed: int = 0, layers: int = LAYERS, spread: float = 0.05) -> pd.DataFrame:
    """Return cells that differ by chance alone."""
    draw = np.random.default_rng(seed).normal(size=(layers, len(NAMES)))
    return pd.DataFrame(0.02 * np.exp(spread * draw), columns=list(NAMES))


def said(data: Any, rule: str, **limits: float) -> list[ftdiff.Finding]:
    return [one for one in findings(data, limits={rule: limits}) if one.rule == rule]


def diff_of(
    relative: pd.DataFrame,
    *,
    base: pd.DataFrame | float = 1.0,
    scale: float = 0.0,
    floor: float = 1e-4,
    more: list[dict[str, Any]] | None = None,
) -> ftdiff.Diff:
    """Return a diff with these relative norms, as sums of 64×64 tensors.

    `base` is the root-mean-square of the base's weights, `scale` the share of ‖ΔW‖² that is a
    rescale, `floor` the relative rounding error.
    """
    rows, size = [], 64 * 64
    for layer in relative.index:
        for name in relative:
            rms = base if isinstance(base, float) else float(base.loc[layer, name])
            W, dW = size * rms**2, size * (rms * float(relative.loc[layer, name])) ** 2
            inner = math.sqrt(scale * dW * W)
            rows.append(
                {
                    "tensor": f"model.layers.{layer}.{MODULES[name]}.weight",
                    "stack": "",
                    "layer": layer,
                    "block": name.partition(".")[0],
                    "component": name,
                    "role": name.partition(".")[2],
                    "module": MODULES[name],
                    "param": "weight",
                    "status": "changed",
                    "form": "dense",
                    "shape": (64, 64),
                    "numel": size,
                    "base_dtype": "BF16",
                    "tuned_dtype": "BF16",
                    "base_sq": W,
                    "delta_sq": dW,
                    "inner": inner,
                    "tuned_sq": W + 2 * inner + dW,
                    "base_abs": size * rms,
                    "delta_abs": math.sqrt(size * dW),
                    "delta_max": math.sqrt(dW),
                    "unequal": size,
                    "sign_flips": 0,
                    "nonfinite_base": 0,
                    "nonfinite_tuned": 0,
                    "ulp_sq": 12 * floor**2 * W,
                }
            )
    about = {"base": "b", "tuned": "t", "kind": "full", "coverage": 1.0}
    return ftdiff.Diff.of_rows([*rows, *(more or [])], about)


def rising(percent: float = 150.0) -> np.ndarray[Any, Any]:
    return np.linspace(1, 1 + percent / 100, LAYERS)


def test_the_outlier_column_is_found_and_a_plain_one_is_not() -> None:
    X = noise()
    assert not said(X, "outlier-component")
    X["attn.k"] *= 3
    (found,) = said(X, "outlier-component")
    assert found.evidence["component"] == "attn.k" and found.evidence["z"] > 3.5
    assert found.evidence["ratio"] == pytest.approx(3, rel=0.1)
    assert found.cells == tuple((layer, "attn.k") for layer in range(LAYERS))
    X["attn.k"] /= 9
    assert said(X, "outlier-component")[0].evidence["z"] < -3.5


def test_an_outlier_in_a_minority_of_layers_is_no_outlier_component() -> None:
    X = noise()
    X.loc[:10, "attn.k"] *= 30
    assert not said(X, "outlier-component")


def test_levels_drawn_at_random_have_no_outlier_component() -> None:
    said_of = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        said_of += bool(said(noise(seed) * np.exp(0.1 * rng.normal(size=7)), "outlier-component"))
    assert said_of <= 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=12))
def test_grubbs_test_is_that_of_students_t(levels: list[float]) -> None:
    values, m = np.array(levels), len(levels)
    spread = max(values.std(ddof=1), 0.02)
    g = np.abs(values - values.mean()).max() / spread
    if g**2 < (m - 1) ** 2 / m - 1e-6:
        t = math.sqrt(m * (m - 2) * g**2 / ((m - 1) ** 2 - m * g**2))
        assert grubbs(values) == pytest.approx(min(1.0, 2 * m * stats.t.sf(t, m - 2)), rel=1e-6)


@pytest.mark.parametrize(("factor", "layers"), [(100, 24), (6, 24), (1 / 50, 12)])
def test_one_tensor_that_is_apart_is_named_and_nothing_is_uniform(
    factor: float, layers: int
) -> None:
    X = noise(layers=layers)
    assert not said(X, "tensor-apart")
    X.loc[7, "attn.k"] *= factor
    rows = findings(X)
    (found,) = (one for one in rows if one.rule == "tensor-apart")
    assert found.cells == ((7, "attn.k"),) and "attn.k of layer 7 stands apart" in found.message
    assert found.evidence["ratio"] == pytest.approx(factor, rel=0.3)
    assert not {"uniform", "depth-peak", "outlier-component"} & {one.rule for one in rows}
    (of_diff,) = said(diff_of(X), "tensor-apart")
    assert of_diff.evidence["tensors"] == ["model.layers.7.self_attn.k_proj.weight"]


def test_the_outlier_layer_is_found() -> None:
    X = noise()
    assert not said(X, "outlier-layer")
    X.loc[13] *= 4
    (found,) = said(X, "outlier-layer")
    assert found.evidence["layer"] == 13
    assert found.cells == tuple((13, name) for name in NAMES)
    X.loc[27] *= 4
    (both,) = said(X, "outlier-layer")
    assert both.message.startswith("Layers 13 and 27 stand apart: they move 4")


@pytest.mark.parametrize(("factor", "sign"), [(rising(), 1), (1 / rising(), -1)])
def test_a_depth_trend_is_found_with_its_sign(factor: Any, sign: int) -> None:
    X = noise()
    assert not said(X, "depth-trend")
    X["mlp.down"] *= factor
    (found,) = said(X, "depth-trend")
    (trend,) = found.evidence["trends"]
    assert trend["component"] == "mlp.down"
    assert np.sign(trend["rho"]) == sign
    reference = stats.spearmanr(np.arange(LAYERS), X["mlp.down"]).statistic
    assert trend["rho"] == pytest.approx(reference)
    line = stats.theilslopes(X["mlp.down"])
    power = np.expm1(27 * stats.theilslopes(np.log(X["mlp.down"])).slope)
    level = np.median(X["mlp.down"] - line.slope * np.arange(LAYERS))
    fits = 100 * np.array([27 * line.slope / level, power])
    assert np.isclose(trend["percent"], fits).sum() == 1
    assert trend["percent"] == pytest.approx(150 if sign > 0 else -60, abs=15)
    words = f"{abs(trend['percent']):.0f}%) {'rises' if sign > 0 else 'falls'} (over 28 layers)."
    assert found.message.startswith("With depth mlp.down (") and found.message.endswith(words)


def test_several_trends_are_one_sentence() -> None:
    X = noise(spread=0.02)
    X["attn.q"] *= rising(60)
    X["attn.k"] *= rising(130)
    X["attn.v"] /= rising(75)
    (found,) = said(X, "depth-trend")
    assert re.fullmatch(
        r"With depth attn\.k \(\+1\d\d%\) and attn\.q \(\+\d\d%\) rise, attn\.v \(−4\d%\) falls "
        r"\(over 28 layers\)\.",
        found.message,
    )
    assert {cell[1] for cell in found.cells} == {"attn.q", "attn.k", "attn.v"}


def test_a_noiseless_trend_is_told_and_not_uniform() -> None:
    X = pd.DataFrame({name: np.linspace(0.01, 0.0226, 24) for name in NAMES})
    rows = findings(X)
    (found,) = (one for one in rows if one.rule == "depth-trend")
    assert found.message.endswith(" in all 7 components: +126% over 24 layers.")
    assert "uniform" not in {one.rule for one in rows}


def test_a_trend_that_is_small_is_not_told() -> None:
    X = noise(spread=0.001)
    X["mlp.down"] *= rising(10)
    assert not said(X, "depth-trend")
    assert said(X, "depth-trend", percent=5)


def test_ten_layers_in_each_of_ten_components_can_show_a_trend() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(0.02 * np.exp(0.03 * rng.normal(size=(10, 10)))).rename(columns=str)
    X["3"] *= np.linspace(1, 2, 10)
    (found,) = said(X, "depth-trend")
    assert [one["component"] for one in found.evidence["trends"]] == ["3"]


@pytest.mark.parametrize(("height", "word"), [(1.0, "more"), (-0.5, "less")])
def test_a_run_of_layers_that_stands_apart_is_found(height: float, word: str) -> None:
    X = noise()
    assert not said(X, "depth-peak")
    X.loc[8:15, "attn.v"] *= 1 + height
    (found,) = said(X, "depth-peak")
    assert found.message.startswith("attn.v moves") and f"% {word} in layers 8–15" in found.message
    log = np.log(X["attn.v"])
    size = math.expm1(log[8:16].median() - log.drop(range(8, 16)).median())
    assert found.evidence["runs"][0]["percent"] == pytest.approx(100 * size)
    assert found.cells == tuple((layer, "attn.v") for layer in range(8, 16))


def test_a_smooth_hump_is_found_and_its_top_is_the_datas() -> None:
    X = noise()
    X["attn.v"] *= 1 + np.sin(np.linspace(0, np.pi, LAYERS)) ** 2
    (found,) = said(X, "depth-peak")
    assert found.evidence["first"] <= 13 <= found.evidence["last"]
    assert found.evidence["runs"][0]["top"] == X["attn.v"].idxmax()


def test_a_run_of_a_whole_block_is_said_of_the_block() -> None:
    X = noise()
    X.loc[3:11, ["mlp.up", "mlp.down", "mlp.gate"]] *= 1.3
    (found,) = said(X, "depth-peak")
    assert found.message.startswith("The MLP moved most in layers 3–11: mlp.")
    X.loc[3:11] *= 1.3
    everywhere = said(X, "depth-peak")[0].message
    assert everywhere.startswith("All components move") and "layers 3–11" in everywhere


def test_layer_groups_are_found_where_they_begin() -> None:
    X = noise()
    assert not said(X, "layer-groups")
    X.iloc[13:] *= 2.0
    X.iloc[21:] *= 0.4
    (found,) = said(X, "layer-groups")
    assert found.evidence["starts"] == [13, 21]
    assert found.evidence["groups"] == [[0, 12], [13, 20], [21, 27]]
    assert found.evidence["r2"] > 0.9
    assert "in all components" in found.message


def test_a_step_of_one_component_is_told_of_it_with_its_layer() -> None:
    X = noise()
    X.loc[17:, "attn.q"] *= 1.5
    (found,) = said(X, "layer-groups")
    size = X["attn.q"][17:].median() / X["attn.q"][:17].median()
    assert found.message == (
        f"attn.q moves {100 * (size - 1):.0f}% more from layer 17 on than in layers 0–16."
    )


def test_a_line_with_depth_is_no_group() -> None:
    X = noise()
    assert not said(X.mul(rising(), axis=0), "layer-groups")


def test_a_component_that_overtakes_another_is_told_and_has_no_overall_ratio() -> None:
    X = noise(spread=0.03)[["attn.k", "attn.v"]]
    assert not said(X, "crossing")
    X.loc[:6, "attn.v"] *= 1.5
    X.loc[7:, "attn.k"] *= 1.6
    (found,) = said(X, "crossing")
    assert found.message.startswith("attn.k overtakes attn.v at layer 7: before, attn.v moves 1.")
    (one,) = found.evidence["crossings"]
    before = (X["attn.v"] / X["attn.k"])[:7].median()
    assert one["before"] == pytest.approx(before) and one["layer"] == 7
    assert not said(X, "contrast")
    X.loc[20, "attn.v"] *= 3
    assert not said(X, "crossing")  # it does not stay


def test_the_component_that_moves_more_is_told_with_its_ratio() -> None:
    X = noise()
    assert not said(X, "contrast")
    X[["attn.k", "attn.v"]] *= 1.5
    found = said(X, "contrast")
    assert {one.evidence["more"] for one in found} <= {"attn.k", "attn.v"}
    assert {one.evidence["less"] for one in found} <= {"attn.q", "attn.o"}
    assert found[0].evidence["ratio"] == pytest.approx(1.5, rel=0.05)


def test_an_outlier_is_counted_once() -> None:
    X = noise()
    X["attn.k"] *= 3
    rows = [one for one in findings(X) if "attn.k" in one.message]
    assert [one.rule for one in rows] == ["outlier-component"]
    diff = diff_of(X)
    assert not any("attn.k" in one.message for one in findings(diff) if one.rule == "lift")


def test_noise_that_stays_for_layers_makes_no_contrast() -> None:
    false = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        walk = rng.normal(size=(LAYERS, 7))
        for i in range(1, LAYERS):
            walk[i] = 0.8 * walk[i - 1] + 0.6 * walk[i]
        false += bool(said(pd.DataFrame(np.exp(0.1 * walk), columns=list(NAMES)), "contrast"))
    assert false <= 2


def test_a_contrast_that_the_base_makes_says_so() -> None:
    X = noise(spread=0.02)
    base = pd.DataFrame(1.0, X.index, X.columns)
    base["attn.k"] = 0.25
    X["attn.k"] *= 2
    X["attn.o"] *= 2
    base["attn.o"] = 0.25
    told = said(diff_of(X, base=base), "contrast")
    assert told and all("per entry it is the reverse" in one.message for one in told)
    assert all("reverse" not in one.message for one in said(diff_of(X), "contrast"))


def test_attention_and_mlp_are_held_against_each_other() -> None:
    X = noise()
    assert not said(X, "attention-against-mlp")
    X[["mlp.up", "mlp.down", "mlp.gate"]] *= 1.6
    for data in (X, diff_of(X)):
        (found,) = said(data, "attention-against-mlp")
        assert found.evidence["more"] == "mlp"
        assert found.evidence["ratio"] == pytest.approx(1.6, rel=0.05)
        assert found.message.startswith("The MLP moves") and "attention" in found.message


def test_one_component_makes_no_block() -> None:
    X = noise()
    X["mlp.up"] *= 3
    for data in (X, diff_of(X)):
        assert not said(data, "attention-against-mlp")


def test_components_that_change_places_with_depth_are_layer_dependent() -> None:
    X = noise()
    assert not said(X, "layer-dependent")
    swing = rising(200) / math.sqrt(3)
    X["attn.q"] *= swing
    X["attn.o"] /= swing
    (found,) = said(X, "layer-dependent")
    assert found.evidence["interaction"] > 0.25


def test_a_change_in_few_layers_is_concentrated_there() -> None:
    X = noise()
    assert not said(X, "concentrated")
    X.iloc[[3, 11, 12, 20]] *= 8
    (found,) = said(X, "concentrated")
    assert set(found.evidence["layers"]) <= {3, 11, 12, 20}
    assert said(diff_of(X), "concentrated")[0].evidence["gini"] == pytest.approx(
        found.evidence["gini"], rel=1e-6
    )


def test_a_trend_of_the_bases_norm_is_told_as_such() -> None:
    X = noise(spread=0.02).mul(1 / rising(), axis=0)
    base = pd.DataFrame(np.outer(rising(), np.ones(len(NAMES))), X.index, X.columns)
    explained = diff_of(X, base=base)
    (control,) = said(explained, "norm-control")
    assert control.evidence["components"] == list(NAMES)
    assert "which rises, explains" in control.message
    assert said(explained, "depth-trend") and not said(diff_of(X), "norm-control")


def test_a_rescaled_column_is_told_and_others_are_not() -> None:
    X = noise()
    one = diff_of(X[["attn.o"]], scale=0.9).frame
    rest = diff_of(X.drop(columns="attn.o"), scale=0.01)
    both = ftdiff.Diff.of_frame(pd.concat([one, rest.frame]), rest.about)
    (found,) = said(both, "scale-control")
    assert found.evidence["component"] == "attn.o"
    assert found.evidence["scale_share"] == pytest.approx(0.9, abs=0.01)
    assert not said(rest, "scale-control")


def test_a_change_under_the_floor_is_told_and_no_pattern_is_looked_for_in_it() -> None:
    X = noise()
    X["attn.k"] *= 0.01 * rising()
    drowned = diff_of(X, floor=0.001)
    assert {cell[1] for cell in said(drowned, "precision-control")[0].cells} == {"attn.k"}
    assert "attn.k" not in str([one.message for one in structural(findings(drowned))])
    assert said(drowned, "left-out")[0].evidence["cells"] == LAYERS
    loud = diff_of(X, floor=1e-6)
    assert not said(loud, "precision-control") and not said(loud, "left-out")
    trends = said(loud, "depth-trend")[0].evidence["trends"]
    assert [one["component"] for one in trends] == ["attn.k"]


def test_an_even_change_is_uniform_and_a_pattern_is_not() -> None:
    X = noise(spread=0.01)
    assert said(X, "uniform")
    assert not said(noise(spread=0.3), "uniform")
    wide = X.copy()
    wide.loc[9, "attn.q"] *= 1.7
    assert not said(wide, "uniform")
    X["attn.k"] *= 1.2
    assert said(X, "outlier-component") and not said(X, "uniform")


def test_what_too_few_layers_could_not_show_is_told_and_never_no_trend() -> None:
    rows = findings(noise(layers=6, spread=0.08))
    (weak,) = (one for one in rows if one.rule == "depth-power")
    assert re.match(r"6 layers that vary as these do are too few to show a trend", weak.message)
    assert weak.evidence["least_trend"] > 50
    assert "uniform" not in {one.rule for one in rows}
    assert not said(noise(spread=0.01), "depth-power")
    few = said(noise(layers=3), "depth-power")
    assert "There are 3 layers: under 6, nothing can be said of depth." in few[0].message


def test_the_least_trend_that_could_be_seen_is_seen_that_often() -> None:
    seen = 0
    for seed in range(40):
        X = noise(seed, spread=0.1)
        (grid,) = grids(X)
        least = power.least_trend(curves(grid))
        X["attn.q"] *= np.exp(np.linspace(0, np.log1p(least / 100), LAYERS))
        seen += any("attn.q" in one.message for one in said(X, "depth-trend"))
    assert 26 <= seen <= 38


@pytest.mark.parametrize(
    ("size", "consistent", "neighbour"),
    [
        (0.002, "reinforcement learning of 7B models", "light supervised"),
        (0.03, "chat fine-tuning of 8B models", "heavy fine-tuning"),
        (0.2, "heavy fine-tuning on long reasoning, 7B", "chat fine-tuning"),
        (0.08, None, "heavy fine-tuning"),
        (1e-5, None, "on-policy distillation"),
        (1.5, None, "heavy fine-tuning"),
    ],
)
def test_the_regime_names_its_neighbours_and_never_says_is(
    size: float, consistent: str | None, neighbour: str
) -> None:
    (found,) = said(diff_of(noise() * 0 + size, floor=1e-9), "regime")
    assert found.evidence["consistent"] == ([consistent] if consistent else [])
    assert any(name.startswith(neighbour) for name in found.evidence["neighbours"])
    assert "consistent with" in found.message if consistent else "published size" in found.message


def test_a_diff_without_a_base_has_no_regime_and_says_what_is_not_controlled() -> None:
    fixtures = FIXTURES
    found = findings(ftdiff.compare(None, fixtures / "lora"))
    assert "regime" not in {one.rule for one in found}
    assert any(one.rule == "left-out" and "Without a base" in one.message for one in found)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("unet.down_blocks.0.attentions.0.transformer_blocks.{}.attn1.to_q.weight", {}),
        ("bert.encoder.layer.{}.attention.self.query.weight", {"model_type": "bert"}),
        ("model.layers.{}.self_attn.q_proj.weight", {"model_type": "esm"}),
        ("blocks.{}.attn.qkv.weight", {}),
        ("atom_conv_layers.{}.twoBody_atom.mlp.layers.0.weight", {}),
    ],
)
def test_no_regime_is_told_of_what_is_no_decoder_of_language(
    name: str, config: dict[str, str]
) -> None:
    base = {name.format(i): np.full((4, 4), 1.0 + i) for i in range(3)}
    diff = ftdiff.compare(base, {key: 1.01 * W for key, W in base.items()})
    diff = ftdiff.Diff(diff.frame, {**diff.about, "base": "b", "config": {"base": config}})
    assert not said(diff, "regime")
    decoder = {f"model.layers.{i}.self_attn.q_proj.weight": np.eye(4) + i for i in range(3)}
    assert said(ftdiff.compare(decoder, {k: 1.01 * W for k, W in decoder.items()}), "regime")


def test_new_rows_and_lift_are_told() -> None:
    rng = np.random.default_rng(0)
    W, rest = rng.normal(size=(20, 8)), rng.normal(size=(400, 8))
    name, other = "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"
    grown = np.vstack([W + 1, rng.normal(size=(3, 8))])
    diff = ftdiff.compare({name: W, other: rest}, {name: grown, other: rest + 0.01})
    (rows,) = said(diff, "new-rows")
    assert (rows.evidence["common"], rows.evidence["rows"]) == (20, 23)
    assert said(diff, "lift")[0].evidence["component"] == "embed.tokens"
    same = ftdiff.compare({name: W, other: rest}, {name: W + 0.01, other: rest + 0.01})
    assert not said(same, "new-rows") and not said(same, "lift")


def test_of_200_matrices_of_noise_at_most_one_in_twenty_says_anything() -> None:
    spreads = (0.01, 0.1, 0.3, 0.6)
    told = [
        bool(structural(findings(noise(seed, (12, LAYERS)[seed % 2], spreads[seed // 2 % 4]))))
        for seed in range(200)
    ]
    assert sum(told) <= 10


def planted() -> dict[str, pd.DataFrame]:
    """Return, by rule, a matrix on which it speaks."""
    X, x = noise(), np.linspace(-1, 1, LAYERS)
    few = X.copy()
    few.iloc[[3, 4, 5]] *= 8
    swing = rising(200) / math.sqrt(3)
    return {
        "outlier-component": X.assign(**{"attn.k": 3 * X["attn.k"]}),
        "outlier-layer": X.mul(np.where(np.arange(LAYERS) == 13, 4.0, 1.0), axis=0),
        "depth-trend": X.mul(rising(), axis=0),
        "depth-peak": X.mul(np.where(np.abs(x) < 0.3, 2.0, 1.0), axis=0),
        "layer-groups": X.mul(np.where(x > 0, 2.0, 1.0), axis=0),
        "crossing": X.assign(**{"attn.k": X["attn.k"] * swing, "attn.v": X["attn.v"] / swing}),
        "contrast": X.assign(**{"attn.k": 1.5 * X["attn.k"], "attn.v": 1.5 * X["attn.v"]}),
        "tensor-apart": X.mask((X.loc[7, "attn.k"] == X), 9 * X),
        "attention-against-mlp": X.assign(**{n: 2 * X[n] for n in NAMES if n[0] == "m"}),
        "layer-dependent": X.assign(
            **{"attn.q": X["attn.q"] * swing, "attn.o": X["attn.o"] / swing}
        ),
        "concentrated": few,
    }


@pytest.mark.parametrize(
    ("rule", "limit", "value"),
    [
        ("outlier-component", "z", 1e9), ("outlier-component", "consistency", 1.1),
        ("outlier-component", "ratio", 10), ("outlier-component", "layers", 99),
        ("outlier-layer", "z", 1e9), ("outlier-layer", "consistency", 1.1),
        ("outlier-layer", "ratio", 10), ("depth-trend", "rho", 1.1), ("depth-trend", "q", 0),
        ("depth-trend", "percent", 1e4), ("depth-trend", "layers", 99),
        ("depth-peak", "layers", 99),
        ("depth-peak", "q", 0), ("depth-peak", "percent", 1e4), ("layer-groups", "q", 0),
        ("layer-groups", "r2", 1.1), ("layer-groups", "percent", 1e4), ("contrast", "p", 0),
        ("outlier-component", "p", 0), ("crossing", "p", 0), ("crossing", "ratio", 10),
        ("tensor-apart", "z", 1e9), ("tensor-apart", "ratio", 10), ("tensor-apart", "p", 0),
        ("contrast", "ratio", 10), ("attention-against-mlp", "p", 0),
        ("attention-against-mlp", "ratio", 10), ("layer-dependent", "share", 1.1),
        ("layer-dependent", "ratio", 10),
        ("concentrated", "gini", 1.0), ("concentrated", "p", 0),
    ],
)  # fmt: skip
def test_each_threshold_alone_keeps_a_rule_silent(rule: str, limit: str, value: float) -> None:
    X = planted()[rule]

    def spoken(**limits: float) -> list[ftdiff.Finding]:
        (grid,) = grids(X)
        return list(RULES[rule].generate(grid, **limits))

    assert spoken() and not spoken(**{limit: value})


def test_pairs_of_noise_say_nothing_of_structure() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        base = {
            f"model.layers.{i}.{module}.weight": rng.normal(size=(24, 24))
            for i in range(12)
            for module in MODULES.values()
        }
        tuned = {name: W + 0.01 * rng.normal(size=W.shape) for name, W in base.items()}
        assert not structural(findings(ftdiff.compare(base, tuned)))


@pytest.mark.parametrize("shape", ["trend", "peak", "groups", "swap"])
def test_permuting_layers_removes_every_depth_sentence(shape: str) -> None:
    X = noise()
    x = np.linspace(-1, 1, LAYERS)
    factors: dict[str, Callable[[], Any]] = {
        "trend": lambda: X.mul(rising(), axis=0),
        "peak": lambda: X.mul(np.where(np.abs(x) < 0.3, 2.0, 1.0), axis=0),
        "groups": lambda: X.mul(np.where(x > 0, 2.0, 1.0), axis=0),
        "swap": lambda: X.assign(
            **{"attn.q": X["attn.q"] * rising(), "attn.o": X["attn.o"] / rising()}
        ),
    }
    planted = factors[shape]()

    def depth(data: pd.DataFrame) -> list[str]:
        return [one.rule for one in findings(data) if RULES[one.rule].kind == "depth"]

    assert depth(planted)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(LAYERS)
        assert not depth(planted.iloc[order].reset_index(drop=True)), seed


def test_findings_of_real_fine_tunes_agree_with_their_numbers(fixtures: Path) -> None:
    for name in ("full", "lora", "rslora"):
        diff = ftdiff.compare(fixtures / "base", fixtures / name)
        table = diff.table()
        found = findings(diff)
        assert [one.rule for one in found].count("regime") == 1
        for one in found:
            if one.rule == "contrast":
                ratio = (table[one.evidence["more"]] / table[one.evidence["less"]]).median()
                assert one.evidence["ratio"] == pytest.approx(ratio, rel=1e-2)
    assert any(one.evidence.get("more") == "attn.o" for one in found)  # α doubled for o_proj


def test_a_plain_matrix_has_the_sentences_of_its_diff_but_for_controls(fixtures: Path) -> None:
    diff = ftdiff.compare(fixtures / "base", fixtures / "lora")
    matrix = diff.table()[list(NAMES)]
    of_diff = {one.message.partition(";")[0].rstrip(".") for one in said(diff, "contrast")}
    assert {one.message.partition(";")[0].rstrip(".") for one in said(matrix, "contrast")} <= {
        *of_diff, *(f"{one})" for one in of_diff)
    }  # fmt: skip
    assert any(one.rule == "left-out" for one in findings(matrix))


def test_wording_says_movement_never_importance() -> None:
    X = noise().mul(rising(), axis=0)
    X["attn.k"] *= 4
    X.loc[13] *= 9
    told = " ".join(one.message for one in findings(diff_of(X)))
    assert len(told) > 200
    assert not re.search(r"importan|active|activit|dominan|suggest|crucial|key ", told, re.I)


def test_wrong_data_and_wrong_limits_are_told() -> None:
    with pytest.raises(BadCall, match=r"a Diff, .*this is list"):
        findings([])  # type: ignore[arg-type]
    with pytest.raises(BadCall, match="no number"):
        findings(pd.DataFrame({"a": ["x"]}))
    with pytest.raises(UnknownName, match="'contrast'"):
        findings(noise(), limits={"contrats": {}})
    with pytest.raises(UnknownName, match="did you mean 'ratio'"):
        findings(noise(), limits={"contrast": {"ratoi": 2}})


def test_small_holed_and_empty_matrices_say_what_they_cannot() -> None:
    few = findings(noise(layers=3))
    assert any("3 layers" in one.message for one in few)
    holed = noise()
    holed.iloc[::2, 0] = np.nan
    holed.iloc[5] = np.nan
    assert not structural(findings(holed))
    zigzag = pd.DataFrame({"a": [1.0, 2.0] * 20})
    for odd in (zigzag, noise() * np.nan, noise() * 0, noise().iloc[:0], noise() * np.inf):
        assert not structural(findings(odd))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=20))
def test_gini_is_scipy_free_but_right(amounts: list[float]) -> None:
    values = np.array(amounts)
    pairs = np.abs(values[:, None] - values[None]).sum()
    expected = pairs / (2 * len(values) ** 2 * values.mean())
    found = concentration.weighted_gini(values, np.ones(len(values)))
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 14), st.integers(0, 99))
def test_segment_costs_are_squared_errors(n: int, seed: int) -> None:
    curve = np.random.default_rng(seed).normal(size=n)
    costs = groups.segment_costs(curve)
    for i in range(n):
        for j in range(i + nulls.SEGMENT, n + 1):
            part = curve[i:j]
            assert costs[i, j] == pytest.approx(((part - part.mean()) ** 2).sum(), abs=1e-9)
        assert np.isinf(costs[i, : i + nulls.SEGMENT]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(2, 8), st.integers(0, 99))
def test_two_ways_share_the_variance(n: int, p: int, seed: int) -> None:
    shares, rest = two_way(np.random.default_rng(seed).normal(size=(n, p)))
    assert sum(shares.values()) == pytest.approx(1)
    assert np.allclose(rest.sum(axis=0), 0) and np.allclose(rest.sum(axis=1), 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=20))
def test_adjusted_chances_are_scipys(p: list[float]) -> None:
    values = np.array(p)
    for shared, method in ((False, "bh"), (True, "by")):
        expected = stats.false_discovery_control(values, method=method) if p else []
        assert nulls.discoveries(values, shared=shared) == pytest.approx(np.array(expected))
    if p:
        assert (nulls.holm(values) >= nulls.discoveries(values) - 1e-12).all()
        assert nulls.holm(values).min() == pytest.approx(min(1.0, len(p) * values.min()))


@pytest.mark.parametrize("phi", [0.0, 0.4, 0.8])
def test_one_phi_of_many_curves_is_theirs_and_a_little_more(phi: float) -> None:
    estimates = []
    for seed in range(30):
        noise_of = np.random.default_rng(seed).normal(size=(7, 48))
        for i in range(1, 48):
            noise_of[:, i] = phi * noise_of[:, i - 1] + np.sqrt(1 - phi**2) * noise_of[:, i]
        estimates.append(nulls.pooled_phi(list(noise_of)))
    assert phi <= np.mean(estimates) <= phi + 0.12


@pytest.mark.parametrize(("n", "phi"), [(12, 0.3), (28, 0.6)])
def test_the_best_run_of_noise_is_as_likely_as_it_says(n: int, phi: float) -> None:
    noise_of = np.random.default_rng(5).normal(size=(2000, n))
    for i in range(1, n):
        noise_of[:, i] = phi * noise_of[:, i - 1] + np.sqrt(1 - phi**2) * noise_of[:, i]
    best = nulls.shapes(n, phi).scores(nulls.clipped(noise_of))[:, 1:].max(axis=1)
    chances = np.array([nulls.run_chance(float(score), n, phi) for score in best])
    for level in (0.5, 0.1, 0.01):
        assert (chances <= level).mean() == pytest.approx(level, abs=0.01 + 0.2 * level)


def test_findings_are_quick() -> None:
    rng = np.random.default_rng(0)
    for layers, m, seconds in ((28, 7, 0.3), (96, 20, 2.0)):
        X = pd.DataFrame(0.02 * np.exp(0.1 * rng.normal(size=(layers, m)).cumsum(axis=0)))
        start = time.process_time()
        findings(X.rename(columns=str))
        assert time.process_time() - start < 2 * seconds  # twice: the machine is not ours alone


def test_each_stack_is_read_apart() -> None:
    rng = np.random.default_rng(0)
    base = {
        f"{tower}.block.{i}.layer.0.SelfAttention.{role}.weight": rng.normal(size=(8, 8))
        for tower in ("encoder", "decoder")
        for i in range(4)
        for role in "qkvo"
    }
    diff = ftdiff.compare(base, {name: 1.1 * W for name, W in base.items()})
    assert {grid.stack for grid in grids(diff)} == {"encoder", "decoder"}
    assert any("of the encoder" in one.message for one in findings(diff))
