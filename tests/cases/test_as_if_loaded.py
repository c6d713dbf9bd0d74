"""What is said of ΔW, and of how many modules, where an adapter would not load as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.cases.situations import write_base, write_lora


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


def said(base: Path, lora: Path) -> str:
    """Return the sentence on loading of a comparison."""
    notes = ftdiff.compare(base, lora).about["notes"]
    (note,) = (note for note in notes if "PEFT would load" in note)
    return str(note)


def changed(change: Any) -> dict[str, torch.Tensor]:
    return {change(key): tensor for key, tensor in situations.factors().items()}


def test_modules_that_could_not_be_read_are_not_said_to_be_measured(
    tmp_path: Path, base: Path
) -> None:
    lacking = [f"layers.{layer}.mlp.down_proj.lora_B" for layer in (1, 2)]
    held = {k: t for k, t in situations.factors().items() if not any(one in k for one in lacking)}
    assert said(base, write_lora(tmp_path / "some", held)).endswith(
        "; ΔW is of the 10 modules that could be read"
    )
    one = {k: t for k, t in situations.factors().items() if "lora_A" in k or "0.mlp.down" in k}
    assert said(base, write_lora(tmp_path / "one", one)).endswith(
        "; ΔW is of the one module that could be read"
    )
    none = {k: t for k, t in situations.factors().items() if "lora_A" in k}
    assert said(base, write_lora(tmp_path / "none", none)).endswith("; no ΔW could be read")


def test_modules_that_the_file_lacks_are_not_said_to_be_measured(
    tmp_path: Path, base: Path
) -> None:
    lora = write_lora(tmp_path / "lora", target_modules="all-linear")
    assert said(base, lora).endswith("; ΔW is of the 12 modules that could be read")


def test_a_saved_module_that_is_lost_is_not_said_to_be_measured(tmp_path: Path, base: Path) -> None:
    lora = write_lora(tmp_path / "lora", modules_to_save=["embed_tokens"])
    assert said(base, lora).endswith("; ΔW is of the 12 modules that could be read")


def test_what_would_not_load_and_was_read_is_said_to_be_measured(
    tmp_path: Path, base: Path
) -> None:
    lora = write_lora(tmp_path / "lora", target_modules=["q_proj", "v_proj"])
    assert said(base, lora).endswith("; ΔW is measured as if it were")
    assert said(base, write_lora(tmp_path / "rank", r=2)).endswith("; ΔW is measured as if it were")


def test_a_module_under_another_name_is_counted_once(tmp_path: Path, base: Path) -> None:
    lora = write_lora(tmp_path / "renamed", changed(lambda key: key.replace("self_attn", "attn")))
    assert said(base, lora).startswith("PEFT would load 4 of 12 modules: ")
    (alarm,) = (
        one
        for one in ftdiff.audit(ftdiff.compare(base, lora)).findings
        if one.rule == "would-not-load"
    )
    assert (alarm.evidence["live"], alarm.evidence["of"]) == (4, 12)


def test_modules_of_shifted_layers_are_counted_once(tmp_path: Path, base: Path) -> None:
    def shifted(key: str) -> str:
        before, _, rest = key.partition(".layers.")
        number, _, more = rest.partition(".")
        return f"{before}.layers.{int(number) + 1}.{more}"

    lora = write_lora(tmp_path / "shifted", changed(shifted))
    assert said(base, lora).startswith("PEFT would load 9 of 12 modules: ")
