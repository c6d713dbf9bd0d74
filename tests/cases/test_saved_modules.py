"""A whole model that PEFT saved with modules that it trained whole: each has two copies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ftdiff
from tests.cases import situations
from tests.conftest import nudge, write_model

HEAD = "lm_head"


def wrapped(prefix: str, *adapters: str) -> dict[str, torch.Tensor]:
    """Return a fine-tune whose head stands as PEFT has it in memory, before and after training."""
    found = {f"{prefix}{name}": W for name, W in nudge(situations.state()).items()}
    trained = found.pop(f"{prefix}{HEAD}.weight")
    found |= {f"{prefix}{HEAD}.modules_to_save.{name}.weight": trained for name in adapters}
    before = situations.state()[f"{HEAD}.weight"]
    return found | {f"{prefix}{HEAD}.original_module.weight": before}


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_the_trained_copy_is_the_module_and_the_other_is_accounted_for(
    prefix: str, tmp_path: Path
) -> None:
    base = situations.write_base(tmp_path / "base")
    plain = ftdiff.compare(base, nudge(situations.state()))
    config = {**situations.CONFIG}
    tuned = write_model(tmp_path / "tuned", wrapped(prefix, "default"), config=config)
    diff = ftdiff.compare(base, tuned)
    assert diff.overall == plain.overall and diff.about["coverage"] == 1.0
    assert not {*diff.frame["status"]} & {"added", "removed", "unmatched"}
    assert diff.about["parts"]["unmatched"]["tensors"] == 0
    (found,) = (one for one in ftdiff.audit(diff).findings if one.rule == "wrapped-names")
    assert "modules_to_save" in " ".join(found.evidence["names"])


def test_of_two_trained_copies_none_is_taken_for_the_module(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    diff = ftdiff.compare(base, wrapped("", "default", "other"))
    status = diff.frame.set_index("tensor")["status"]
    assert status[f"{HEAD}.weight"] == "removed"
    assert (status.filter(like=HEAD) == "added").sum() == 3
