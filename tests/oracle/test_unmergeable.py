"""What PEFT does not merge changes no weight: its norms are shown, and that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.numpy import load_file

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.adapters.peft import capabilities as capability
from ftdiff.adapters.peft.folder import family_for
from ftdiff.adapters.peft.unmergeable import BesideFamily
from ftdiff.errors import BadAdapter
from tests.oracle import models
from tests.oracle.conftest import Bench
from tests.oracle.peft_cases import BESIDE

Benches = dict[str, Bench]
ROWS = [row for rows in capability.read_table().values() for row in rows]


def test_every_type_beside_the_base_is_tried() -> None:
    rows = {row.type for row in ROWS if row.way == "beside" and not row.when}
    assert rows - set(BESIDE) == {"XLORA"}  # of which every part is a LoRA of its own


@pytest.mark.parametrize("type", BESIDE)
def test_what_works_beside_the_base_has_norms_and_no_change(
    benches: Benches, tmp_path: Path, type: str
) -> None:
    bench = benches["llama"]
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(type)](**BESIDE[type])
    adapter = models.save_adapter(bench.model, config, tmp_path)
    with pytest.raises((AttributeError, NotImplementedError)):
        models.merged(bench.model, adapter)
    diff = ftdiff.compare(bench.folder, adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    rows = diff.frame[diff.frame["status"] == "added"]
    assert sorted(np.sqrt(rows["tuned_sq"])) == pytest.approx(sorted(norms_of(tensors)))
    assert rows["delta_sq"].isna().all()
    assert set(diff.frame["status"]) == {"added", "untouched"}
    assert not diff.about["unreadable"]
    tuned = open_tuned(adapter, bench.opened)
    assert any("no base weight changes" in note for note in tuned.notes)
    assert {"code": "no-base-change"} in diff.about["reasons"]
    with pytest.raises(BadAdapter, match="no weight changes"):
        next(iter(tuned.recipes.values())).delta(None)


def norms_of(tensors: dict[str, np.ndarray]) -> list[float]:
    return [float(np.linalg.norm(tensor.astype(np.float64))) for tensor in tensors.values()]


@pytest.mark.parametrize("type", BESIDE)
def test_what_works_beside_the_base_needs_none(benches: Benches, tmp_path: Path, type: str) -> None:
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(type)](**BESIDE[type])
    adapter = models.save_adapter(benches["llama"].model, config, tmp_path)
    frame = ftdiff.compare(None, adapter).frame
    assert set(frame["status"]) == {"added"}
    assert frame["tuned_sq"].notna().all()


def test_a_whole_module_saved_with_a_prompt_is_a_replacement(
    benches: Benches, tmp_path: Path
) -> None:
    bench = benches["llama"]
    adapter = models.save_adapter(
        bench.model,
        peft.LilyConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        tmp_path,
    )
    frame = ftdiff.compare(bench.folder, adapter).frame.set_index("tensor")
    assert frame.loc["lm_head.weight", "status"] == "changed"
    assert frame.loc["lm_head.weight", "delta_sq"] > 0
    assert (frame["status"] == "added").sum() == 6


def test_arrow_is_beside_the_base() -> None:
    family = family_for({"peft_type": "LORA", "arrow_config": {"arrow_top_k": 2}})
    assert isinstance(family, BesideFamily)
