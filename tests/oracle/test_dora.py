"""DoRA on every kind of layer: the change is the one that PEFT's merge makes, in streamed tiles."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ftdiff.comparison.plan import pair
from tests.oracle import models
from tests.oracle.agreement import (
    assert_agrees,
    measured,
    merge_difference,
    opened,
    save_adapter,
    save_base,
)

CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "linear": (models.llama, {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "up_proj"]}),
    "linear with rsLoRA and patterns": (
        models.llama,
        {
            "r": 4,
            "use_rslora": True,
            "target_modules": ["q_proj", "down_proj"],
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"down_proj": 3},
        },
    ),
    "Conv1D, square and not": (
        models.gpt2,
        {"r": 3, "lora_alpha": 5, "fan_in_fan_out": True, "target_modules": ["c_attn", "c_proj"]},
    ),
    "convolutions": (
        models.convolutions,
        {"r": 3, "target_modules": ["one", "two", "point", "three"]},
    ),
    "embedding, whose base is saved": (models.llama, {"r": 3, "target_modules": ["embed_tokens"]}),
    "head, whose base is saved": (models.llama, {"r": 3, "target_modules": ["lm_head", "q_proj"]}),
}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., tuple[nn.Module, Path, Path]]:
    def saved(name: str, **more: Any) -> tuple[nn.Module, Path, Path]:
        build, options = CASES[name]
        model = build()
        config = peft.LoraConfig(use_dora=True, **options)
        base = save_base(model, tmp_path / "base")
        return model, base, save_adapter(model, config, tmp_path / "adapter", **more)

    return saved


@pytest.mark.parametrize("name", CASES)
def test_change_is_that_of_the_merge(name: str, save: Any) -> None:
    model, base, adapter = save(name)
    tuned = assert_agrees(base, adapter, merge_difference(model, adapter))
    assert tuned.kind == "dora"


def test_embedding_without_a_saved_base_starts_from_ours(save: Any) -> None:
    model, base, adapter = save("embedding, whose base is saved")
    wanted = merge_difference(model, adapter)
    rewrite(adapter, lambda keys: {k: t for k, t in keys.items() if "base_layer" not in k})
    assert_agrees(base, adapter, wanted)


def test_a_saved_base_that_is_another_is_part_of_the_change(save: Any) -> None:
    def moved(adapted: nn.Module) -> None:
        for name, tensor in adapted.named_parameters():
            if name.endswith("embed_tokens.base_layer.weight"):
                tensor.add_(0.05 * torch.randn_like(tensor))

    model, base, adapter = save("embedding, whose base is saved", change=moved)
    assert_agrees(base, adapter, merge_difference(model, adapter))


def test_magnitudes_are_found_under_old_and_new_names(save: Any) -> None:
    model, base, adapter = save("linear")
    wanted = merge_difference(model, adapter)
    for spelled in ("lora_magnitude_vector.weight", "lora_magnitude_vector.default.weight"):
        rewrite(
            adapter,
            lambda keys, to=spelled: {
                k.partition("lora_magnitude_vector")[0] + to if "magnitude" in k else k: t
                for k, t in keys.items()
            },
        )
        assert_agrees(base, adapter, wanted)


@pytest.mark.parametrize("name", ["linear", "Conv1D, square and not"])
def test_tiles_change_no_bit_and_rules_travel(name: str, save: Any) -> None:
    _, base, adapter = save(name)
    plan = pair(*opened(base, adapter))
    for change in plan.changes:
        there = pickle.loads(pickle.dumps(change))
        rule = there.recipe.maker.make(there.base)
        W = there.base.read().astype(np.float32)
        whole = rule.rows(W, 0)
        cut = [rule.rows(W[i : i + 5], i) for i in range(0, len(W), 5)]
        assert np.array_equal(np.concatenate(cut), whole)
        assert change.recipe.moments(change.base).row() == there.recipe.moments(there.base).row()


def test_untouched_magnitudes_and_no_factors_are_no_change(save: Any) -> None:
    _, base, adapter = save("linear", spread=0.0)
    checkpoint, tuned = opened(base, adapter)
    for change in pair(checkpoint, tuned).changes:
        W = checkpoint.tensors[change.address.name].read()
        assert np.linalg.norm(change.recipe.delta(change.base).dense()) < 1e-6 * np.linalg.norm(W)


def test_without_a_base_the_row_says_what_is_missing(save: Any) -> None:
    _, _, adapter = save("linear")
    rows, unreadable = measured(None, adapter)
    assert {row["status"] for row in rows} == {"unreadable"}
    assert all("DoRA rescales" in why and "give the base" in why for why in unreadable.values())


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (0, "use_dora is set, but the adapter has no lora_magnitude_vector"),
        (23, "lora_magnitude_vector (23) does not fit 24 outputs"),
    ],
)
def test_magnitudes_that_are_wrong_are_refused(left: int, reason: str, save: Any) -> None:
    _, base, adapter = save("linear")
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"

    def spoiled(keys: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept = keys.pop(key)[:left].clone()
        return keys | ({key: kept} if left else {})

    rewrite(adapter, spoiled)
    _, unreadable = measured(base, adapter)
    assert unreadable == {
        "model.layers.0.self_attn.q_proj.weight": f"model.layers.0.self_attn.q_proj: {reason}"
    }


def test_magnitudes_without_use_dora_are_not_used_and_said_so(save: Any) -> None:
    model, base, adapter = save("linear")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_dora": False}))
    tuned = assert_agrees(base, adapter, merge_difference(model, adapter))
    assert len(tuned.unmatched) == 4
    assert all("use_dora is not set" in why for why in tuned.unmatched.values())


def rewrite(
    adapter: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)
