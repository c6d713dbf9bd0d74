"""What could not be measured is missing: never 0, never 1, alone or in a group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ftdiff
from ftdiff.metrics import resolve
from ftdiff.tensors import Array

Q, UP, NORM = (
    f"model.layers.{n}.weight" for n in ("0.self_attn.q_proj", "0.mlp.up_proj", "1.norm")
)
#: What NaN and Inf do not hide: entries can still be counted.
COUNTED = {"changed_fraction"}
DIRECTION = ("cosine", "angle", "scale", "rotation", "scale_share")


def weights(seed: int = 0) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    return {Q: draw.normal(size=(6, 8)), UP: draw.normal(size=(7, 8)), NORM: draw.normal(size=8)}


def missing(row: pd.Series) -> set[str]:
    return {m.name for m in resolve(()) if pd.isna(row[m.name])}


@pytest.mark.parametrize("side", ["base", "tuned", "both"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entries", [1, 48])
def test_a_tensor_with_what_is_not_finite_has_no_number(
    side: str, value: float, entries: int
) -> None:
    base, tuned = weights(), weights(1)
    for one, broken in ((base, side != "tuned"), (tuned, side != "base")):
        if broken:
            one[Q].flat[:entries] = value
    diff = ftdiff.compare(base, tuned)
    row = diff.frame.set_index("tensor").loc[Q]
    assert missing(row) == {m.name for m in resolve(())} - COUNTED
    assert row["nonfinite_base"] + row["nonfinite_tuned"] == entries * (1 + (side == "both"))
    rest = ftdiff.compare({n: base[n] for n in (UP, NORM)}, {n: tuned[n] for n in (UP, NORM)})
    names = ("relative_norm", "cosine", "rotation", "angle", "rms_change", "snr")
    grouped = diff.by("layer", metrics=names)
    pd.testing.assert_frame_equal(
        grouped[["layer", *names]], rest.by("layer", metrics=names)[["layer", *names]]
    )
    alone = diff.by("component", metrics=names).set_index("component")
    assert alone.loc["attn.q", [*names]].isna().all()


def test_a_group_in_which_only_the_broken_moved_is_missing_not_still() -> None:
    base = weights()
    tuned = {**base, Q: np.full_like(base[Q], np.nan)}
    group = ftdiff.compare(base, tuned).by("layer", metrics=("relative_norm", "cosine"))
    assert group.set_index("layer").loc[0, ["relative_norm", "cosine"]].isna().all()
    assert group.set_index("layer").loc[1, "relative_norm"] == 0  # its norm did not move


def test_what_needs_more_than_sums_is_missing_too() -> None:
    base, tuned = weights(), weights(1)
    tuned[Q][0, 0] = np.nan
    names = ("spectral_norm", "stable_rank", "changed_fraction_bf16", "sigma", "amplification")
    names = tuple(n for n in names if n in ftdiff.metrics.METRICS)
    diff = ftdiff.compare(base, tuned, metrics=names)
    frame = diff.frame.set_index("tensor")
    assert len(names) >= 3 and frame.loc[Q, [*names]].isna().all()
    assert frame.loc[UP, [*names]].notna().all()


def test_a_zero_base_has_no_direction() -> None:
    W = weights()[Q]
    for tuned in (W, np.zeros_like(W)):
        row = ftdiff.compare({Q: np.zeros_like(W)}, {Q: tuned}).frame.iloc[0]
        assert row[[*DIRECTION]].isna().all(), row[[*DIRECTION]]
    row = ftdiff.compare({Q: W}, {Q: np.zeros_like(W)}).frame.iloc[0]
    assert row[["cosine", "angle", "rotation"]].isna().all()
    assert (row["scale"], row["relative_norm"]) == (0, 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("seed", range(8))
def test_rounding_gives_a_zero_side_no_cosine(dtype: str, seed: int) -> None:
    W = np.random.default_rng(seed).normal(size=(9, 33)).astype(dtype)
    zero = np.zeros_like(W)
    for base, tuned in ((W, zero), (zero, W)):
        row = ftdiff.compare({Q: base}, {Q: tuned}).frame.iloc[0]
        assert row[["cosine", "angle", "rotation"]].isna().all()


def test_a_diff_saved_with_sums_over_the_finite_rest_is_read_without(tmp_path: Path) -> None:
    base = weights()
    tuned = {**weights(1), Q: np.full_like(base[Q], np.nan)}
    path = ftdiff.compare(base, tuned).save(tmp_path / "d.json")
    document = json.loads(path.read_text())
    (row,) = (row for row in document["tensors"] if row["tensor"] == Q)
    row |= {"base_sq": 0.0, "tuned_sq": 0.0, "delta_sq": 0.0, "inner": 0.0}
    row |= {"relative_norm": 0.0, "cosine": 1.0}
    path.write_text(json.dumps(document))
    loaded = ftdiff.Diff.load(path)
    assert missing(loaded.frame.set_index("tensor").loc[Q]) >= {"relative_norm", "cosine"}
    assert loaded.overall == ftdiff.compare(base, tuned).overall
