"""Files under the names that transformers writes meet those under the names that it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import ftdiff
from ftdiff.comparison.alignment import transformers_names
from ftdiff.comparison.alignment.transformers_names import RENAMED
from tests.cases import situations
from tests.oracle.models import saved_and_held

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": (
        "ViTForImageClassification",
        {
            "num_hidden_layers": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "image_size": 32,
            "num_attention_heads": 2,
        },
    ),
    "swin": (
        "SwinForImageClassification",
        {
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "image_size": 32,
            "window_size": 4,
            "patch_size": 4,
        },
    ),
    "gpt_neox": (
        "GPTNeoXForCausalLM",
        {
            "num_hidden_layers": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "vocab_size": 64,
            "num_attention_heads": 2,
        },
    ),
}


def write(kind: str, folder: Path) -> tuple[Path, Path]:
    """Write a model as transformers saves it, and as it holds it."""
    torch.manual_seed(0)
    name, sizes = MODELS[kind]
    made = getattr(transformers, name)(transformers.AutoConfig.for_model(kind, **sizes))
    return saved_and_held(made, folder)


@pytest.mark.parametrize("kind", MODELS)
def test_every_name_meets_its_own(kind: str, tmp_path: Path) -> None:
    saved, held = write(kind, tmp_path)
    for base, tuned in ((saved, held), (held, saved)):
        diff = ftdiff.compare(base, tuned)
        assert {*diff.frame["status"]} == {"identical"} and diff.about["coverage"] == 1.0
        (note,) = (one for one in diff.about["reasons"] if one["code"] == RENAMED)
        assert note["names"] and note["model_type"] == kind and RENAMED == "renamed-by-transformers"


def test_a_change_is_seen_under_the_base_s_name(tmp_path: Path) -> None:
    saved, held = write("vit", tmp_path)
    state = load_file(held / "model.safetensors")
    state["vit.layers.1.attention.q_proj.weight"] += 1.0
    save_file(state, held / "model.safetensors")
    diff = ftdiff.compare(saved, held)
    moved = diff.frame[diff.frame["status"] == "changed"]
    assert [*moved["tensor"]] == ["vit.encoder.layer.1.attention.attention.query.weight"]


def test_without_transformers_names_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, held = write("vit", tmp_path)
    monkeypatch.setattr(transformers_names, "find_spec", lambda name: None)
    diff = ftdiff.compare(saved, held)
    assert {"added", "removed"} <= {*diff.frame["status"]}


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "vit", "architectures": ["ViTModel"], "num_hidden_layers": 10**9},
        {"model_type": "vit", "architectures": ["ViTModel"], "hidden_size": "much"},
        {"model_type": "vit", "architectures": ["ViTModel", "os"], "num_attention_heads": 0},
        {"model_type": "gpt_neox", "architectures": ["os"]},
        {"model_type": "gpt_neox", "architectures": 3},
        {"model_type": "swin", "depths": [10**9]},
    ],
)
def test_a_configuration_that_is_no_model_s_renames_nothing(
    config: dict[str, Any], tmp_path: Path
) -> None:
    saved, held = write("vit", tmp_path)
    for folder in (saved, held):
        (folder / "config.json").write_text(json.dumps(config))
    diff = ftdiff.compare(saved, held)
    assert RENAMED not in [one["code"] for one in diff.about["reasons"]]


def test_names_that_meet_ask_transformers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("imported")

    saved, held = write("vit", tmp_path)
    llama = situations.write_base(tmp_path / "base")  # of which there are no renames
    more = {**situations.state(), "score.weight": torch.ones(2, 32)}
    monkeypatch.setattr(transformers_names, "require", asked)
    for base, tuned in ((saved, saved), (held, held), (llama, situations.state() | more)):
        ftdiff.compare(base, tuned)
    with pytest.raises(AssertionError, match="imported"):
        monkeypatch.setattr(transformers_names, "_renames", asked)
        ftdiff.compare(saved, held)


def test_an_adapter_under_new_names_is_not_said_to_load_nothing(tmp_path: Path) -> None:
    import peft

    saved, held = write("vit", tmp_path)
    name, sizes = MODELS["vit"]
    made = getattr(transformers, name)(transformers.AutoConfig.for_model("vit", **sizes))
    targets = [n for n, m in made.named_modules() if isinstance(m, torch.nn.Linear)][:2]
    model = peft.get_peft_model(made, peft.LoraConfig(r=2, target_modules=targets))
    for part, value in model.named_parameters():
        if "lora_B" in part:
            torch.nn.init.normal_(value)
    model.save_pretrained(tmp_path / "adapter")
    for base in (saved, held):
        diff = ftdiff.compare(base, tmp_path / "adapter")
        assert (diff.frame["status"] == "changed").sum() == 2
        assert not any(one["code"] == "would-not-load" for one in diff.about["reasons"])
