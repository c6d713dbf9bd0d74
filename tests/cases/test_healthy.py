"""What is right stays right: a sound adapter, and its merge."""

from __future__ import annotations

from pathlib import Path

import pytest

import ftdiff
from tests.cases import situations
from tests.conftest import write_model


def test_an_adapter_and_its_merge_have_one_number(tmp_path: Path) -> None:
    base = situations.write_base(tmp_path / "base")
    lora = situations.write_lora(tmp_path / "lora")
    merged = write_model(tmp_path / "merged", situations.merged(), config=situations.CONFIG)
    wanted = situations.relative_norm(situations.state(), situations.merged())
    for tuned in (lora, merged):
        diff = ftdiff.compare(base, tuned)
        assert diff.whole("moved")["relative_norm"] == pytest.approx(wanted, rel=1e-6)
        assert diff.about["coverage"] == 1.0
        assert ftdiff.audit(diff).ok
    assert ftdiff.verify(base, lora, merged).ok
