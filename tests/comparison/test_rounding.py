"""Rounding is a null where the base is off the tuned side's grid, and blurs a change elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ftdiff
from ftdiff.analyses.parts import columns, rows
from ftdiff.comparison.batch import compare_each
from ftdiff.comparison.blur import blur
from ftdiff.comparison.cells import cells
from ftdiff.comparison.reasons import FEW_BITS, has_reason, reasons
from ftdiff.deltas.off_grid import off_grid
from ftdiff.formats.quantised.rounding import FLOORS
from ftdiff.metrics import faint
from ftdiff.reports.document import document
from ftdiff.reports.summary import summary
from ftdiff.tensors import DTYPES, Array
from tests.adapters.test_peft_folder import factors, write
from tests.conftest import write_model
from tests.formats.quantised_models import four_bits, quantise

NAME = "model.layers.{}.self_attn.{}_proj.weight"
BF16, F16 = DTYPES["BF16"], DTYPES["F16"]


def model(dtype: np.dtype, layers: int = 24, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    names = [NAME.format(i, p) for i in range(layers) for p in "qkvo"]
    return {name: (0.02 * rng.normal(size=(64, 64))).astype(dtype) for name in names}


def moved(
    base: dict[str, Array], dtype: np.dtype, first: float, last: float | None = None
) -> dict[str, Array]:
    """Move matrices by a relative norm that grows with depth, from the first layer to the last."""
    rng = np.random.default_rng(9)
    sizes = np.geomspace(first, last or first, -(-len(base) // 4)).repeat(4)
    made = {}
    for (name, W), size in zip(base.items(), sizes, strict=False):
        exact = W.astype(np.float64)
        D = rng.normal(size=W.shape)
        D *= size * np.linalg.norm(exact) / np.linalg.norm(D)
        made[name] = (exact + D).astype(np.float32).astype(dtype)
    return made


def doubtful(diff: ftdiff.Diff) -> int:
    return int(sum(one.doubtful.to_numpy().sum() for one in cells(diff, ("relative_norm",))))


def test_a_trend_of_two_sides_of_one_dtype_is_told_and_nothing_is_hatched() -> None:
    base = model(BF16)
    diff = ftdiff.compare(base, moved(base, BF16, 1.5e-3, 4.5e-3))
    assert diff.frame["snr"].isna().all() and (diff.frame["precision_floor"] > 1e-3).all()
    assert "snr" not in diff.overall and not doubtful(diff)
    found = ftdiff.findings(diff)
    rules = {one.rule for one in found}
    assert any(rule.startswith(("depth", "trend")) for rule in rules), rules
    assert "left-out" not in rules
    assert not any("cannot be told" in one.message for one in found)
    report = document(diff)
    assert not any("cannot be told" in one for one in report.cautions)
    assert not any("storage dtype's rounding" in line for line in summary(diff))
    assert not [f for f in ftdiff.audit(diff).findings if f.rule == "under-the-floor"]


@pytest.mark.parametrize(("dtype", "unit"), [(BF16, 1.0), (F16, 0.125)])
def test_the_blur_is_said_as_large_as_it_is(dtype: np.dtype, unit: float) -> None:
    base = {NAME.format(0, "q"): (0.02 * np.random.default_rng(0).normal(size=(512, 512)))}
    base = {name: W.astype(dtype) for name, W in base.items()}
    shares = {}
    for true in (3e-4, 5e-4, 7e-4, 1.2e-3, 2e-3, 5e-3, 1e-2):
        diff = ftdiff.compare(base, moved(base, dtype, true * unit))
        stored = diff.frame["relative_norm"].iloc[0]
        off = abs(stored / (true * unit) - 1)
        told = blur(diff)
        shares[true] = None if told is None else told.share
        assert off > 0.2 if shares[true] == 0.2 else off < 0.2
        assert off < 0.05 if told is None else off > 0.05
    assert [*shares.values()] == [0.2, 0.2, 0.2, 0.05, None, None, None]


def test_what_is_blurred_is_said_with_how_it_is_told_to_have_moved() -> None:
    base = model(BF16, layers=3)
    diff = ftdiff.compare(base, moved(base, BF16, 4e-4))
    (said,) = [one for one in document(diff).cautions if "blurs" in one]
    assert said.startswith(
        "Both sides are stored in BF16: rounding blurs ‖ΔW‖ of 12 of 12 matrices by more than 20%"
    )
    assert "told by their changed entries" in said
    (found,) = [one for one in ftdiff.findings(diff) if one.rule == "precision-control"]
    assert found.message == said and len(found.evidence["tensors"]) == 12
    assert found.severity == "note"
    assert any(said in line for line in summary(diff))
    assert (diff.frame["status"] == "changed").all()


def test_few_entries_that_moved_far_are_not_blurred() -> None:
    base = model(BF16, layers=1)
    tuned = {name: W.copy() for name, W in base.items()}
    for W in tuned.values():
        W[:2] += BF16.type(0.004)
    diff = ftdiff.compare(base, tuned)
    assert (diff.frame["relative_norm"] > 0).all() and blur(diff) is None


def test_a_float32_base_off_the_grid_has_a_null_and_what_does_not_pass_it_is_faint() -> None:
    base = model(np.dtype(np.float32), layers=4)
    diff = ftdiff.compare(base, {name: W.astype(BF16) for name, W in base.items()})
    assert diff.frame["snr"].notna().all() and diff.frame["snr"].between(0.8, 1.2).all()
    assert faint(diff.frame["snr"]).all() and doubtful(diff) == 16
    assert any("cannot be told from rounding to BF16" in one for one in document(diff).cautions)
    assert (diff.expected("relative_norm") > 1e-3).all()
    assert diff.overall["snr"] == pytest.approx(1, rel=0.1)
    base = model(np.dtype(np.float32), layers=12)
    far = ftdiff.compare(base, moved(base, BF16, 0.05))
    assert (far.frame["snr"].to_numpy(float) > 100).all() and not doubtful(far)
    assert "Every change stands out of its storage dtype's rounding." in " ".join(summary(far))


@pytest.mark.parametrize("wide", [np.float32, np.float64])
def test_a_wide_file_that_was_saved_from_the_tuned_dtype_has_no_null(wide: type) -> None:
    base = model(BF16, layers=2)
    tuned = moved(base, BF16, 1e-3)
    diff = ftdiff.compare({name: W.astype(wide) for name, W in base.items()}, tuned)
    same = ftdiff.compare(base, tuned)
    assert diff.frame["snr"].isna().all() and diff.expected("relative_norm").isna().all()
    assert diff.frame["relative_norm"].tolist() == pytest.approx(
        same.frame["relative_norm"].tolist()
    )
    found, other = blur(diff), blur(same)
    assert found is not None and other is not None and found.names == other.names
    assert found.sentence.startswith(
        "The base lies on the grid of a fine-tune that is stored in BF"
    )


def test_float16_lies_off_the_grid_of_bfloat16_and_bfloat16_on_that_of_float32() -> None:
    half = model(F16, layers=1)
    down = ftdiff.compare(
        half, {name: W.astype(np.float32).astype(BF16) for name, W in half.items()}
    )
    assert down.frame["snr"].notna().all() and faint(down.frame["snr"]).all()
    brain = model(BF16, layers=1)
    up = ftdiff.compare(brain, moved(brain, np.dtype(np.float32), 1e-4))
    assert up.frame["snr"].isna().all() and (up.frame["relative_norm"] > 9e-5).all()


def test_a_group_of_both_kinds_is_held_against_what_was_off_the_grid_only() -> None:
    rng = np.random.default_rng(1)
    W = (0.02 * rng.normal(size=(2, 64, 64))).astype(np.float32)
    base = {NAME.format(0, "q"): W[0], NAME.format(0, "k"): W[1].astype(BF16)}
    diff = ftdiff.compare(base, moved(base, BF16, 0.02))
    off = diff.frame.set_index("tensor").loc[NAME.format(0, "q")]
    assert diff.overall["snr"] == pytest.approx(diff.frame["delta_sq"].sum() / off["ulp_sq"] * 12)


def test_no_cut_changes_where_the_grid_is_looked_at() -> None:
    rng = np.random.default_rng(2)
    W = rng.normal(size=10 * 256 + 7).astype(np.float32)
    W[512:1024] = W[512:1024].astype(BF16)
    whole = off_grid(W, "F32", "BF16", 256)
    assert whole.tolist() == [True, True, False, False, *[True] * 7]
    parts = [off_grid(W[at : at + 512], "F32", "BF16", 256) for at in range(0, W.size, 512)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert not off_grid(W, "F32", "F32", 256).any()


def test_rows_know_it_too() -> None:
    W = (0.02 * np.random.default_rng(3).normal(size=(64, 64))).astype(np.float32)
    W[:10] = W[:10].astype(BF16)
    base, tuned = {NAME.format(0, "q"): W}, moved({NAME.format(0, "q"): W}, BF16, 0.02)
    by_row = rows(base, tuned, NAME.format(0, "q"))
    assert by_row.frame["snr"].isna().tolist() == [True] * 10 + [False] * 54
    by_column = columns(base, tuned, NAME.format(0, "q"))
    assert by_column.frame["snr"].between(50, 1e4).all()


def test_an_unmerged_adapter_is_asked_whether_it_would_survive_a_merge(tmp_path: Path) -> None:
    base = model(BF16, layers=1)
    q = NAME.format(0, "q")
    lora = factors(q.removesuffix(".weight"), out=64, into=64)
    small = {name: T * np.float32(1e-5 if "lora_B" in name else 1) for name, T in lora.items()}
    diff = ftdiff.compare(base, write(tmp_path, small))
    row = diff.frame.set_index("tensor").loc[q]
    assert 0 < row["snr"] < 10
    assert any("would drown when merged into BF16" in one for one in document(diff).cautions)


def test_a_diff_that_was_saved_before_keeps_its_snr(tmp_path: Path) -> None:
    base = model(np.dtype(np.float32), layers=2)
    diff = ftdiff.compare(base, moved(base, BF16, 3e-3))
    stored = json.loads(diff.save(tmp_path / "diff.json").read_text())
    stored["columns"].remove("null_sq")
    for row in stored["tensors"]:
        del row["null_sq"]
    (tmp_path / "old.json").write_text(json.dumps(stored))
    old = ftdiff.Diff.load(tmp_path / "old.json")
    pd.testing.assert_series_equal(old.frame["snr"], diff.frame["snr"])
    assert old.overall["snr"] == diff.overall["snr"]


@pytest.mark.parametrize(("kind", "scheme"), [("nf4", "NF4"), ("fp4", "FP4")])
def test_a_merge_onto_a_base_of_few_bits_is_told(kind: str, scheme: str, tmp_path: Path) -> None:
    base = {
        name: torch.from_numpy(W.astype(np.float32)).to(torch.bfloat16)
        for name, W in model(BF16, layers=8).items()
    }
    whole = write_model(tmp_path / "base", base)
    _, values = quantise(tmp_path / "packed", four_bits(kind), base=base)
    trained = [name for name in values if name.endswith("q_proj.weight")]
    for name in trained:
        noise = torch.randn(values[name].shape, generator=torch.Generator().manual_seed(1))
        values[name] = values[name] + 0.1 * values[name].float().std() * noise
    merged = {name: W.to(torch.bfloat16) for name, W in values.items()}
    diff = ftdiff.compare(whole, write_model(tmp_path / "merged", merged))
    grid = diff.frame[has_reason(diff.frame, FEW_BITS)]
    assert {*grid["tensor"]} == {*values} - {*trained} and len(trained) == 8
    assert grid["snr"].to_numpy(float) == pytest.approx(1)
    (record,) = reasons(diff.about, FEW_BITS)
    assert record == {
        "code": "few-bits", "scheme": scheme, "block": 64, "tensors": len(grid),
        "others": len(trained),
    }  # fmt: skip
    told = f"Merged onto a 4-bit base: {len(grid)} untargeted matrices are the base's, rounded to "
    assert any(
        one.startswith(f"{told}{scheme} in blocks of 64.") for one in document(diff).cautions
    )
    for found in (ftdiff.findings(diff), ftdiff.audit(diff).findings):
        (one,) = [one for one in found if one.rule.startswith("few-bits")]
        assert one.message.startswith(told) and one.severity == "caution"
        assert len(one.evidence["tensors"]) == len(grid)
    assert not any("cannot be told from rounding to" in one for one in document(diff).cautions)
    again = ftdiff.Diff.load(diff.save(tmp_path / "diff.json"))
    assert ftdiff.findings(again) == ftdiff.findings(diff)
    (each,) = compare_each(whole, [tmp_path / "merged"])
    assert isinstance(each, ftdiff.Diff) and each.frame.equals(diff.frame)


def test_a_change_as_large_as_that_of_few_bits_is_no_rounding(tmp_path: Path) -> None:
    base = model(BF16, layers=1)
    for size in FLOORS.values():
        diff = ftdiff.compare(base, moved(base, BF16, size))
        assert not has_reason(diff.frame, FEW_BITS).any()
        assert not [*reasons(diff.about, FEW_BITS)] and not diff.about["notes"]


@pytest.mark.parametrize("pack", ["int8", "float8"])
def test_a_base_that_was_rounded_to_8_bits_by_rows_is_told(pack: str) -> None:
    base = model(np.dtype(np.float32), layers=1)
    levels = 127 if pack == "int8" else 448

    def rounded(W: Array) -> Array:
        top = np.abs(W).max(axis=1, keepdims=True) / levels
        if pack == "int8":
            return (np.rint(W / top) * top).astype(np.float32)
        return ((W / top).astype(DTYPES["F8_E4M3"]).astype(np.float32) * top).astype(np.float32)

    diff = ftdiff.compare(base, {name: rounded(W) for name, W in base.items()})
    (record,) = reasons(diff.about, FEW_BITS)
    assert record["scheme"] == ("INT8" if pack == "int8" else "F8_E4M3")
    bits = (" matrices are the base's, rounded to ", ": saved in, or through, 8 bits.")
    assert any(all(words in one for words in bits) for one in document(diff).cautions)


@pytest.mark.parametrize("block", [0, 64, 128])
def test_weights_rounded_to_sixteen_whole_levels_are_told(block: int) -> None:
    rng = np.random.default_rng(4)
    base = {NAME.format(0, k): rng.normal(size=(64, 256)).astype(np.float32) for k in "qv"}

    def rounded(W: Array, levels: float) -> Array:
        blocks = W.reshape(-1, block or W.shape[1])
        top = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(levels)
        return (np.rint(blocks / top) * top).astype(np.float32).reshape(W.shape)

    diff = ftdiff.compare(base, {name: rounded(W, 7) for name, W in base.items()})
    (record,) = reasons(diff.about, FEW_BITS)
    assert (record["scheme"], record["block"], record["tensors"]) == ("INT4", block, 2)
    assert any("saved in, or through, 4 bits" in one for one in document(diff).cautions)
    other = ftdiff.compare(base, {name: rounded(W, 7.5) for name, W in base.items()})
    assert not [*reasons(other.about, FEW_BITS)]
