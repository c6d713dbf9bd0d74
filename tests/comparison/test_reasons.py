"""Every code that a tensor may have: what gives it, that it is saved, and what lacks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ftdiff
from ftdiff.comparison import reasons
from ftdiff.comparison.reasons import TENSOR_REASONS, coarse, has_reason, noted
from ftdiff.formats.note import Note
from tests.adapters.test_peft_folder import Q, factors, random, write
from tests.formats.quantised_models import BASE, four_bits, quantise

W, NAME = np.ones((6, 4), np.float32), f"{Q}.weight"
EMBED = "model.embed_tokens.weight"


def _against(base: Any, tuned: Any) -> Callable[[Path], ftdiff.Diff]:
    return lambda folder: ftdiff.compare({NAME: base}, {NAME: tuned})


def _adapter(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], ftdiff.Diff]:
    base = {NAME: random(5, 4)}
    return lambda folder: ftdiff.compare(base, write(folder, change(factors())))


def _dead(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: T * ("lora_A" in name) for name, T in tensors.items()}


def _halved(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: T for name, T in tensors.items() if "lora_A" in name}


def _saved(folder: Path) -> ftdiff.Diff:
    tensors = {**factors(), "base_model.model.head.weight": W}
    return ftdiff.compare(None, write(folder, tensors, modules_to_save=["head"]))


def _rounded(folder: Path) -> ftdiff.Diff:
    _, values = quantise(folder, four_bits("nf4"))
    return ftdiff.compare(BASE, {name: W.float().numpy() for name, W in values.items()})


#: By code: what gives it to the tensor, or to a key.
CASES: dict[str, tuple[Callable[[Path], ftdiff.Diff], str]] = {
    reasons.DEAD: (_adapter(_dead), NAME),
    reasons.COMMON_ROWS: (_against(W, np.vstack([W, W])), NAME),
    reasons.OTHER_SHAPE: (
        lambda folder: ftdiff.compare({NAME: W, "a": W}, {NAME: np.ones((6, 5)), "a": 2 * W}), NAME,
    ),
    reasons.REORDERED: (
        lambda folder: ftdiff.compare({EMBED: random(40, 8)}, {EMBED: random(40, 8)[::-1]}), EMBED,
    ),
    reasons.NONFINITE: (_against(W, np.where(np.eye(6, 4), np.nan, W)), NAME),
    reasons.COARSE: (
        lambda folder: ftdiff.compare(quantise(folder, four_bits("nf4"))[0], BASE), NAME,
    ),
    reasons.FEW_BITS: (_rounded, "layers.0.mlp.up_proj.weight"),
    reasons.ZERO_BASE: (_against(0 * W, W), NAME),
    reasons.UNMATCHED: (_adapter(lambda held: held | {f"{Q}.lora_magic": W}), "lora_magic"),
    reasons.SAVED: (_saved, "head.weight"),
    reasons.UNREADABLE: (_adapter(_halved), NAME),
}  # fmt: skip


@pytest.mark.parametrize("code", TENSOR_REASONS)
def test_a_tensor_has_the_code_of_what_is_odd_and_keeps_it(code: str, tmp_path: Path) -> None:
    made, name = CASES[code]
    diff = made(tmp_path / "x")
    rows = has_reason(diff.frame, code)
    assert diff.frame["tensor"][rows].str.endswith(name).any()
    assert (diff.frame["note"].notna() == diff.frame["reason"].notna()).all()
    loaded = ftdiff.Diff.load(diff.save(tmp_path / "diff.json"))
    assert has_reason(loaded.frame, code).equals(rows)
    assert loaded.about["reasons"] == diff.about["reasons"]


def test_what_is_plain_has_no_code(tmp_path: Path) -> None:
    diff = _against(W, 2 * W)(tmp_path)
    assert diff.frame["reason"].isna().all()
    assert not any(has_reason(diff.frame, code).any() for code in TENSOR_REASONS)


def test_several_codes_stand_side_by_side() -> None:
    columns = noted([Note("coarse", "a b"), Note("zero-base", "c")])
    assert columns == {"note": "a b; c", "reason": "coarse zero-base"}
    frame = pd.DataFrame([columns, noted([])]).astype("string")
    assert has_reason(frame, "coarse").tolist() == [True, False]
    assert not has_reason(frame, "zero").any()  # a code is a whole word


def test_a_diff_that_was_saved_without_codes_is_read_and_judged(tmp_path: Path) -> None:
    path = CASES[reasons.COARSE][0](tmp_path / "x").save(tmp_path / "diff.json")
    document = json.loads(path.read_text())
    del document["about"]["reasons"]
    document["columns"].remove("reason")
    for row in document["tensors"]:
        row.pop("reason", None)
        row.pop("note", None)  # no sentence is read
    path.write_text(json.dumps(document))
    old = ftdiff.Diff.load(path)
    assert old.frame["reason"].isna().all()
    assert coarse(old.frame, old.about).sum() == len(old.frame[old.frame["base_dtype"] == "NF4"])
    (unjudged,) = (f for f in ftdiff.audit(old).findings if f.rule == "unjudged-notes")
    assert "dequantised" in unjudged.message and unjudged.severity == "caution"
