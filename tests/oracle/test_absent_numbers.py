"""Configurations that lack a number: PEFT takes its default, and so do we, and say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest

import ftdiff
from ftdiff.errors import BadAdapter
from tests.oracle import models
from tests.oracle.agreement import assert_agrees, merge_difference, save_adapter, save_base

TARGETS = ["q_proj", "v_proj"]
#: By name: the type, what it is made with, and what its configuration then lacks.
LACKING: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "lora": ("Lora", {"r": 4}, ("lora_alpha",)),
    "rslora": ("Lora", {"r": 4, "use_rslora": True}, ("lora_alpha",)),
    "lora of rank 8": ("Lora", {"r": 8}, ("lora_alpha", "r")),
    "loha": ("LoHa", {"r": 2}, ("alpha",)),
    "lokr": ("LoKr", {"r": 2}, ("alpha",)),
    "lokr, whole": ("LoKr", {"r": 8}, ("alpha", "r")),
    "gralora": ("Gralora", {"r": 4}, ("alpha",)),
    "adalora": ("AdaLora", {"init_r": 12, "total_step": 9}, ("lora_alpha", "init_r")),
}


@pytest.mark.parametrize("name", LACKING)
def test_an_absent_number_is_the_default_that_peft_takes(name: str, tmp_path: Path) -> None:
    kind, options, lacking = LACKING[name]
    model = models.llama()
    base = save_base(model, tmp_path / "base")
    made = getattr(peft, f"{kind}Config")(target_modules=TARGETS, **options)
    adapter = save_adapter(model, made, tmp_path / "adapter")
    told = _edited(adapter, dict.fromkeys(lacking, ...))
    assert not {*lacking} & told.keys()
    tuned = assert_agrees(base, adapter, merge_difference(model, adapter))
    for origin in tuned.scalings.values():
        assert f"with PEFT's default for {lacking[0]}" in origin


def test_a_pattern_goes_before_the_default(tmp_path: Path) -> None:
    model = models.llama()
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(model, peft.LoraConfig(r=4, target_modules=TARGETS), tmp_path / "lora")
    _edited(adapter, {"lora_alpha": ..., "alpha_pattern": {"q_proj": 3}})
    tuned = assert_agrees(base, adapter, merge_difference(model, adapter))
    by_default = {name: "default" in origin for name, origin in tuned.scalings.items()}
    assert by_default == {name: "v_proj" in name for name in tuned.scalings}


def test_a_null_is_refused_as_peft_refuses_it(tmp_path: Path) -> None:
    model = models.llama()
    base = save_base(model, tmp_path / "base")
    adapter = save_adapter(model, peft.LoraConfig(r=4, target_modules=TARGETS), tmp_path / "lora")
    _edited(adapter, {"lora_alpha": None})
    with pytest.raises(TypeError):
        merge_difference(model, adapter)
    with pytest.raises(BadAdapter, match="lora_alpha is None"):
        ftdiff.compare(base, adapter)


def _edited(adapter: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Change fields of a configuration; one that is ... goes."""
    path = adapter / "adapter_config.json"
    told = {**json.loads(path.read_text()), **changes}
    told = {name: value for name, value in told.items() if value is not ...}
    path.write_text(json.dumps(told))
    return told
