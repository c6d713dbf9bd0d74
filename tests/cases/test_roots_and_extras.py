"""One model below several roots, and what one side has beside it: heads, layers, a tower."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch

import ftdiff
from tests.conftest import llama, write_model

ROOTS = ("language_model.model.", "model.language_model.", "model.")


def _text(root: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a language model's tensors below a root; of another seed, one matrix moves."""
    tensors = {n.replace("model.", root, 1): t for n, t in llama().items() if n[:5] == "model"}
    if seed:
        name = f"{root}layers.1.mlp.up_proj.weight"
        tensors[name] = (tensors[name] * 1.01).to(tensors[name].dtype)
    return tensors


def _tower(root: str) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(5)
    names = (f"{root}layers.{n}.{word}_proj.weight" for n in range(2) for word in "qkv")
    return {name: torch.randn(12, 12, generator=made) for name in names}


@pytest.mark.parametrize(("ours", "theirs"), [*permutations(ROOTS, 2)])
def test_a_language_model_below_another_root(tmp_path: Path, ours: str, theirs: str) -> None:
    base = write_model(tmp_path / "base", _text(ours) | _tower("vision_tower."))
    tuned = write_model(tmp_path / "tuned", _text(theirs, 1) | _tower("vision_tower."))
    diff = ftdiff.compare(base, tuned)
    assert diff.about["coverage"] == 1.0 and not diff.about["unmatched"]
    moved = diff.frame[diff.frame.status == "changed"]
    assert list(moved.tensor) == [f"{ours}layers.1.mlp.up_proj.weight"]


EXTRAS = [
    *("v_head.summary.weight", "score.weight", "mtp.layers.0.proj.weight"),
    "model.layers.3.eh_proj.weight",
]


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_one_side_has_alone_is_named(tmp_path: Path, extra: str) -> None:
    tensor = {extra: torch.randn(2, 12, generator=torch.Generator().manual_seed(1))}
    small = write_model(tmp_path / "small", _text("model."))
    large = write_model(tmp_path / "large", _text("model.", 1) | tensor)
    for base, tuned, fate in ((small, large, "added"), (large, small, "removed")):
        frame = ftdiff.compare(base, tuned).frame.set_index("tensor")
        assert frame.status[extra] == fate
        assert (frame.status == "changed").sum() == 1 and len(frame) == len(_text("model.")) + 1


def test_a_tower_that_one_side_lacks_is_named(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", _text("model.language_model.") | _tower("model.visual."))
    diff = ftdiff.compare(base, write_model(tmp_path / "tuned", _text("model.", 1)))
    counts = diff.about["counts"]
    assert (counts["removed"], counts["added"]) == (len(_tower("")), 0)
    assert (diff.frame.status == "changed").sum() == 1
