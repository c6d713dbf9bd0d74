"""An old save keeps masks and tables beside its weights, a new one does not: nobody's finding."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import ftdiff
from ftdiff.analyses.inspection import inspect
from ftdiff.cli import ftdiff as door
from tests.cases.situations import adapter_config
from tests.conftest import write_model

HIDDEN, LENGTH = 16, 32


def gpt2() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    state = {"transformer.wte.weight": torch.randn(64, HIDDEN, generator=draw)}
    for layer in range(3):
        at = f"transformer.h.{layer}."
        state[f"{at}attn.c_attn.weight"] = torch.randn(HIDDEN, 3 * HIDDEN, generator=draw)
        state[f"{at}attn.c_attn.bias"] = torch.randn(3 * HIDDEN, generator=draw)
        state[f"{at}mlp.c_fc.weight"] = torch.randn(HIDDEN, 4 * HIDDEN, generator=draw)
    return state


def masks() -> dict[str, torch.Tensor]:
    mask = torch.tril(torch.ones(LENGTH, LENGTH)).view(1, 1, LENGTH, LENGTH)
    found = {}
    for layer in range(3):
        found[f"transformer.h.{layer}.attn.bias"] = mask.bool() if layer else mask
        found[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return found


def test_masks_of_one_side_are_counted_and_found_nowhere(tmp_path: Path) -> None:
    old = write_model(tmp_path / "old", {**gpt2(), **masks()}, config={"model_type": "gpt2"})
    new = write_model(tmp_path / "new", gpt2(), config={"model_type": "gpt2"})
    for base, tuned in ((old, new), (new, old), (old, old)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"} and len(diff.frame) == len(gpt2())
        assert diff.about["counts"]["buffers"] == 6 and diff.about["coverage"] == 1.0
        (note,) = (one for one in diff.about["reasons"] if one["code"] == "buffers")
        assert len(note["tensors"]) == 6
        assert {one.rule for one in ftdiff.audit(diff).findings} <= {"nothing-moved"}
    said = CliRunner().invoke(door, ["compare", str(old), str(new)])
    assert "6 buffers are no weights (bias × 3, masked_bias × 3): counted" in said.output


def test_inspect_counts_them_apart(tmp_path: Path) -> None:
    old = write_model(tmp_path / "old", {**gpt2(), **masks()}, config={"model_type": "gpt2"})
    found = inspect(str(old))
    assert found.facts["tensors"] == str(len(gpt2()))
    assert any("6 buffers" in note for note in found.notes)


def test_a_verified_merge_need_not_hold_them(tmp_path: Path) -> None:
    old = write_model(tmp_path / "old", {**gpt2(), **masks()}, config={"model_type": "gpt2"})
    new = write_model(tmp_path / "new", gpt2(), config={"model_type": "gpt2"})
    lora = tmp_path / "lora"
    lora.mkdir()
    state = {**gpt2()}
    A, B = torch.randn(2, HIDDEN), torch.randn(4 * HIDDEN, 2)
    name = "transformer.h.1.mlp.c_fc"
    state[f"{name}.weight"] = state[f"{name}.weight"] + (B @ A).T
    at = f"base_model.model.{name}"
    save_file(
        {f"{at}.lora_A.weight": A, f"{at}.lora_B.weight": B}, lora / "adapter_model.safetensors"
    )
    told = adapter_config(r=2, lora_alpha=2, target_modules=["c_fc"], fan_in_fan_out=True)
    (lora / "adapter_config.json").write_text(json.dumps(told))
    merged = write_model(tmp_path / "merged", state, config={"model_type": "gpt2"})
    for base in (old, new):
        assert ftdiff.verify(base, lora, merged).ok
