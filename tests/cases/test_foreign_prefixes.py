"""Whole checkpoints whose names have words in front that a training left there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.conftest import write_model


def folders(tmp_path: Path, tuned: dict[str, torch.Tensor]) -> tuple[Path, Path]:
    base = situations.write_base(tmp_path / "base")
    return base, write_model(tmp_path / "tuned", tuned, config={**situations.CONFIG})


PREFIXES: dict[str, Callable[[str], str]] = {
    "actor": lambda name: f"actor.{name}",
    "transformer": lambda name: f"transformer.{name}",
    "nested": lambda name: name.replace("model.", "model.language_model."),
}


@pytest.mark.parametrize("how", PREFIXES)
def test_a_foreign_prefix_is_matched_everywhere_and_fails(tmp_path: Path, how: str) -> None:
    state = {PREFIXES[how](name): W for name, W in situations.merged().items()}
    base, tuned = folders(tmp_path, state)
    diff = ftdiff.compare(base, tuned)
    assert diff.about["coverage"] == 1.0 and not {*diff.frame["status"]} & {"added", "removed"}
    (alarm,) = (one for one in ftdiff.audit(diff).findings if one.severity == "alarm")
    assert alarm.rule == "wrapped-names"
    assert len(alarm.evidence["names"]) == len(diff.about["renamed"]) >= 38
    merged = ftdiff.verify(base, situations.write_lora(tmp_path / "lora"), tuned)
    assert "missing" not in {*merged.frame["status"]}
    assert "transformers does not find them" in merged.sentences[-1]


@pytest.mark.parametrize("change", [lambda n: f"model.{n}", lambda n: n.removeprefix("model.")])
def test_the_class_s_own_prefix_passes(tmp_path: Path, change: Callable[[str], str]) -> None:
    state = {change(name): W for name, W in situations.merged().items()}
    base, tuned = folders(tmp_path, state)
    assert ftdiff.audit(ftdiff.compare(base, tuned)).ok
    merged = ftdiff.verify(base, situations.write_lora(tmp_path / "lora"), tuned)
    assert merged.ok and len(merged.sentences) == 1
