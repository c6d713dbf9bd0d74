from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ftdiff.analyses.inspection import inspect
from tests.conftest import llama, write_model


@pytest.fixture(autouse=True)
def no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr("ftdiff.tensors.stored.FileTensor.window", refuse)


def test_an_adapter_is_described_from_headers_alone(fixtures: Path) -> None:
    found = inspect(fixtures / "rslora")
    assert found.facts["kind"] == "rslora"
    assert found.facts["base it names"] == "../base"
    assert set(found.facts["targets"].split(", ")) == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }
    assert found.facts["layers"] == "28 (0–27)"
    ranks = {row["component"]: row["ranks"] for row in found.components}
    assert ranks["attn.v"] == "3 × 14, 4 × 14"
    assert ranks["mlp.down"] == "8 × 28"
    scales = {row["scale"]: row["modules"] for row in found.scalings}
    assert scales["α/√r = 6/√2, use_rslora in adapter_config.json"] == 28
    assert sum(scales.values()) == 196


def test_a_dora_shows_its_rank_and_all_its_parameters(tmp_path: Path) -> None:
    at = "base_model.model.model.layers.0.self_attn.q_proj"
    state = {
        f"{at}.lora_A.weight": torch.ones(3, 16),
        f"{at}.lora_B.weight": torch.ones(16, 3),
        f"{at}.lora_magnitude_vector": torch.ones(16),
    }
    save_file(state, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "use_dora": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    found = inspect(tmp_path)
    assert found.facts["kind"] == "dora"
    assert found.facts["parameters"] == str(3 * 16 * 2 + 16)
    assert [row["ranks"] for row in found.components] == ["3 × 1"]


def test_a_checkpoint_is_counted_by_component(tmp_path: Path) -> None:
    state = llama()
    config = {"model_type": "llama"}
    found = inspect(write_model(tmp_path, state, shards=2, config=config))
    assert found.facts["architecture"] == "llama"
    assert found.facts["parameters"] == f"{sum(t.numel() for t in state.values()):,}"
    assert found.facts["dtypes"] == f"BF16 × {len(state)}"
    rows = {row["component"]: row for row in found.components}
    assert (rows["attn.q"]["tensors"], rows["attn.q"]["shapes"]) == (3, "16×16 × 3")
    assert not found.scalings


def test_keys_that_match_nothing_are_named(fixtures: Path, tmp_path: Path) -> None:
    state = {"base_model.model.x.lora_A.weight": torch.ones(2, 4), "odd.lora_Z": torch.ones(1)}
    state["base_model.model.x.lora_B.weight"] = torch.ones(4, 2)
    save_file(state, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["x", "gone"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    found = inspect(tmp_path)
    assert "odd.lora_Z" in found.unmatched
    assert any("gone" in note for note in found.notes)


def test_an_adapter_that_cannot_be_computed_is_still_shown(tmp_path: Path) -> None:
    at = "base_model.model.model.layers.0.self_attn.q_proj"
    state = {f"{at}.lora_A.weight": torch.ones(3, 16), f"{at}.lora_B.weight": torch.ones(16, 3)}
    save_file(state, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "init_lora_weights": "pissa_niter_4"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    found = inspect(tmp_path)
    assert found.facts["kind"] == "irreproducible"
    assert found.facts["tensors"] == "2"
    assert any("pissa_niter_4" in note for note in found.notes)
