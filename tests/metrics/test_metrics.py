from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine as scipy_cosine

import ftdiff
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, UnknownName
from ftdiff.metrics import METRICS, Sums, metric, resolve


def _of(base: Any, tuned: Any) -> dict[str, Any]:
    diff = ftdiff.compare({"w": np.asarray(base)}, {"w": np.asarray(tuned)})
    return dict(diff.frame.iloc[0])


def test_a_case_computed_by_hand() -> None:
    row = _of(np.float32([[3, 0], [0, 4]]), np.float32([[3, 0], [3, -4]]))
    # ΔW = [[0, 0], [3, −8]], ‖W‖² = 25, ‖ΔW‖² = 73, ⟨W, ΔW⟩ = −32, ‖W₁‖² = 34
    assert row["relative_norm"] == pytest.approx(math.sqrt(73 / 25))
    assert row["relative_norm_mean"] == pytest.approx(math.sqrt(73) / ((5 + math.sqrt(34)) / 2))
    assert row["relative_norm_l1"] == pytest.approx(11 / 7)
    assert row["rms_change"] == pytest.approx(math.sqrt(73 / 4))
    assert row["mean_abs_change"] == pytest.approx(11 / 4)
    assert row["max_abs_change"] == 8
    assert row["cosine"] == pytest.approx(-7 / math.sqrt(25 * 34))
    assert row["angle"] == pytest.approx(math.degrees(math.acos(-7 / math.sqrt(25 * 34))))
    assert row["scale"] == pytest.approx(-7 / 25)
    assert row["rotation"] == pytest.approx(math.sqrt(1 - 49 / (25 * 34)))
    assert row["scale_share"] == pytest.approx(32 * 32 / (25 * 73))
    assert row["changed_fraction"] == 0.5
    assert row["sign_flip_fraction"] == 0.25
    assert row["energy_share"] == row["lift"] == 1.0
    # units in the last place of 3, 0, 3, −4 in float32: 2⁻²², least normal, 2⁻²², 2⁻²¹
    ulp_sq = 2 * 2.0**-44 + 2.0**-42
    assert row["precision_floor"] == pytest.approx(math.sqrt(ulp_sq / 12 / 25))
    assert pd.isna(row["snr"])  # both are float32: rounding alone changes nothing


@given(st.integers(0, 1000), st.floats(1e-4, 2.0))
@settings(max_examples=40, deadline=None)
def test_the_change_splits_into_scale_and_rotation(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(9, 11))
    W1 = W + size * rng.normal(size=W.shape)
    row = _of(W, W1)
    scaled = (row["scale"] - 1) ** 2 * row["base_sq"]
    turned = row["rotation"] ** 2 * row["tuned_sq"]
    assert scaled + turned == pytest.approx(row["delta_sq"], rel=1e-9)
    assert row["scale_share"] == pytest.approx(scaled / row["delta_sq"], rel=1e-9, abs=1e-12)
    assert 1 - row["cosine"] == pytest.approx(scipy_cosine(W.ravel(), W1.ravel()), abs=1e-12)


@pytest.mark.parametrize("factor", [1.37, 0.5, -2.0])
def test_a_rescaled_tensor_is_all_scale_and_no_rotation(factor: float) -> None:
    W = np.random.default_rng(0).normal(size=(30, 20))
    row = _of(W, factor * W)
    assert row["scale"] == pytest.approx(factor)
    assert row["scale_share"] == pytest.approx(1.0)
    assert row["rotation"] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(("dtype", "floor"), [("BF16", 0.0017), ("F16", 0.0002)])
def test_the_floor_is_what_rounding_alone_gives(dtype: str, floor: float) -> None:
    from ftdiff.tensors import DTYPES

    W = np.random.default_rng(0).normal(0, 0.02, size=(512, 512)).astype(np.float32)
    row = _of(W, W.astype(DTYPES[dtype]))
    assert row["precision_floor"] == pytest.approx(floor, rel=0.2)
    assert row["relative_norm"] == pytest.approx(row["precision_floor"], rel=0.05)
    assert row["snr"] == pytest.approx(1.0, rel=0.1)


def test_noise_flips_the_signs_that_its_null_says() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(800, 800))
    row = _of(W, W + 0.1 * rng.normal(size=W.shape))
    assert row["sign_flip_fraction"] == pytest.approx(row["relative_norm"] / math.pi, rel=0.03)
    assert row["cosine"] == pytest.approx(1 - row["relative_norm"] ** 2 / 2, abs=2e-4)
    assert row["rotation"] == pytest.approx(row["relative_norm"], rel=0.02)
    assert row["scale_share"] < 100 / W.size
    assert row["lift"] == 1.0
    likely = math.sqrt(2 * math.log(W.size)) * row["rms_change"]
    assert row["max_abs_change"] == pytest.approx(likely, rel=0.15)


@pytest.mark.parametrize("name", [m.name for m in resolve(())])
def test_what_noise_is_expected_to_give_it_gives(name: str) -> None:
    from ftdiff.tensors import DTYPES

    rng = np.random.default_rng(0)
    W = rng.normal(size=(700, 500)).astype(np.float32)
    noise = 0.05 * rng.normal(size=W.shape).astype(np.float32)
    floors = ("relative_norm", "relative_norm_mean", "rms_change", "snr")
    if name in floors:  # their null is rounding
        base, tuned = W, W.astype(DTYPES["BF16"])
    else:
        base, tuned = W, W + noise
    diff = ftdiff.compare({"w": base}, {"w": tuned})
    found, expected = diff.frame[name].iloc[0], diff.expected(name).iloc[0]
    if name == "precision_floor":  # it is itself a null
        assert pd.isna(expected)
    elif name == "scale_share":  # the square of one normal number
        assert found < 20 * expected
    else:
        slack = 0.1 if name == "max_abs_change" else 0.06  # its null is asymptotic
        assert found == pytest.approx(expected, rel=slack)


def test_a_small_angle_keeps_its_digits() -> None:
    W = np.array([1.0, 0.0])
    row = _of(W, np.array([1.0, 1e-9]))
    assert row["angle"] == pytest.approx(math.degrees(1e-9), rel=1e-9)


def test_a_group_names_its_metrics_and_no_name_those_of_sums() -> None:
    magnitude = resolve(["magnitude"])
    assert magnitude == [m for m in METRICS.values() if m.group == "magnitude"]
    assert resolve(["snr", "magnitude", "snr"])[0].name == "snr"
    assert len(resolve(["snr", "magnitude"])) == len(magnitude)
    assert {m.needs for m in resolve(())} == {"sums"}
    with pytest.raises(UnknownName, match="did you mean 'magnitude'"):
        resolve(["magnitud"])


def test_a_metric_that_needs_what_there_is_not_is_refused() -> None:
    with pytest.raises(BadCall, match="needs 'magic'; there are sums"):
        metric("m", label="m", formula="m", range="m", null="m", needs="magic")


def test_nothing_changed_is_zero_and_not_missing() -> None:
    W = np.ones((3, 3), np.float32)
    row = _of(W, W)
    expected = {"relative_norm": 0.0, "cosine": 1.0, "scale": 1.0, "rotation": 0.0}
    assert {name: row[name] for name in expected} == expected
    assert row["changed_fraction"] == row["sign_flip_fraction"] == 0.0


def test_a_metric_of_ones_own_is_a_column_and_regroups() -> None:
    @metric("mean_abs", label="mean |ΔW|", formula="Σ|ΔW|/N", range="[0, ∞)", null="0.8 rms")
    def mean_abs(s: Any) -> Any:
        return s.delta_abs / s.numel

    try:
        diff = ftdiff.compare(
            {"a": np.zeros(4), "b": np.zeros(6)}, {"a": np.ones(4), "b": 2 * np.ones(6)}
        )
        assert list(diff.frame["mean_abs"]) == [1.0, 2.0]
        assert diff.by(metrics=("mean_abs",))["mean_abs"].iloc[0] == pytest.approx(1.6)
        assert isinstance(diff, Diff)
    finally:
        del METRICS._items["mean_abs"]  # type: ignore[attr-defined]


def test_an_unknown_metric_is_met_with_a_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'relative_norm'"):
        resolve(["relativ_norm"])


def test_an_unknown_sum_is_named() -> None:
    with pytest.raises(AttributeError, match="no sum called 'delta_cube'"):
        getattr(Sums({}, {}), "delta_cube")  # noqa: B009


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name: str) -> None:
    one = METRICS[name]
    assert one.label and one.formula and one.range and one.null
    assert one.compute.__doc__
