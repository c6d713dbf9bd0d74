"""What is said of a whole model where only few of its tensors could be compared."""

from __future__ import annotations

from pathlib import Path

import torch

import ftdiff
from tests.cases import situations

State = dict[str, torch.Tensor]
NORM = "model.norm.weight"


def test_that_nothing_moved_is_said_of_what_was_compared_alone() -> None:
    def said(tuned: State) -> list[str]:
        found = ftdiff.audit(ftdiff.compare(situations.state(), tuned)).findings
        return [one.message for one in found if one.rule == "nothing-moved"]

    base = situations.state()
    lacking = {name: W for name, W in base.items() if name != NORM}
    few = {name: W for name, W in base.items() if "layers.0." in name}
    assert said(base) == [f"The fine-tune is the base: not one of {len(base)} tensors moved."]
    (told,) = said(lacking)
    assert told == f"Of the {len(base) - 1} tensors that could be compared, not one moved."
    assert said(few) == []


def test_few_matrices_do_not_tell_another_base(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    head = {"base_model.model.model.layers.0.self_attn.k_proj.weight": torch.randn(32, 32)}
    lora = situations.write_lora(
        tmp_path / "lora", {**situations.factors(), **head}, modules_to_save=["k_proj"]
    )
    strange = {f"blocks.{i}.up.weight": torch.randn(32, 32) for i in range(3)}
    one = {**strange, "blocks.0.up.weight": torch.randn(32, 32)}
    few = {name: one[name] for name in [*one][:2]}
    for found in (
        ftdiff.compare(base, lora),
        ftdiff.compare({name: torch.randn(32, 32) for name in few}, few),
    ):
        rules = {told.rule for told in ftdiff.audit(found).findings}
        assert "replaced" in rules and "wrong-base" not in rules
    other = ftdiff.compare({name: torch.randn(32, 32) for name in strange}, strange)
    assert "wrong-base" in {told.rule for told in ftdiff.audit(other).findings}
