"""A few rows say early whether a checkpoint is the base, of its family, or neither."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

import ftdiff
from ftdiff.adapters import open_tuned
from ftdiff.comparison import engine
from ftdiff.comparison.batch import compare_each
from ftdiff.comparison.kinship import foretold
from ftdiff.comparison.plan import pair
from ftdiff.errors import BadCall, Mismatch
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import MappedFile
from tests import conftest
from tests.cases import situations

State = dict[str, torch.Tensor]


def stranger(seed: int = 9) -> State:
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(W.shape, generator=draw) * W.std() if W.dim() > 1 else W
        for name, W in situations.state().items()
    }


@pytest.mark.parametrize(
    ("tuned", "verdict"),
    [
        (situations.state, "identical"),
        (situations.merged, "family"),
        (stranger, "unrelated"),
        (lambda: {name: -W for name, W in situations.state().items()}, "family"),
    ],
)
def test_a_verdict_is_reached_before_anything_is_measured(tuned: object, verdict: str) -> None:
    base, fine = situations.state(), tuned()  # type: ignore[operator]
    heard: list[str] = []

    def say(text: str) -> None:
        heard.append(text)

    def progress(done: int, total: int) -> None:
        assert heard or verdict != "unrelated"

    diff = engine.compare(base, fine, (), None, progress, say=say)
    assert diff.about["kinship"]["verdict"] == verdict
    notes = [one for one in diff.about["reasons"] if one["code"] == "kinship"]
    assert len(heard) == len(notes) == (verdict == "unrelated")
    assert ("wrong-base" in {one.rule for one in ftdiff.audit(diff).findings}) == (
        verdict == "unrelated"
    )
    (other,) = compare_each(base, [fine])
    assert isinstance(other, ftdiff.Diff) and other.about["kinship"] == diff.about["kinship"]


def test_what_takes_long_is_told_that_the_base_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftdiff.comparison.kinship._LONG", 0)
    heard: list[str] = []
    engine.compare(situations.state(), situations.merged(), say=heard.append)
    engine.compare(situations.state(), situations.state(), say=heard.append)
    assert heard[0].startswith("of the base's family, another checkpoint: the median cosine of")
    assert heard[1].endswith("are the base's, bit for bit")


def test_an_unrelated_model_of_another_depth_is_another_base() -> None:
    tuned = {name: W for name, W in stranger().items() if "layers.3" not in name}
    heard: list[str] = []
    diff = engine.compare(situations.state(), tuned, say=heard.append)
    assert heard == ["unrelated to the base: no layer is like one of the base's; "
                     "is it the right one?"]  # fmt: skip
    assert "wrong-base" in {one.rule for one in ftdiff.audit(diff).findings}


def test_an_adapter_and_small_things_have_no_verdict() -> None:
    small = {"a.weight": np.ones((4, 4)), "b.weight": np.ones((4, 4))}
    assert "kinship" not in ftdiff.compare(small, small).about
    plan = pair(open_checkpoint(small), open_tuned(small))
    assert foretold(plan) is plan


def test_strangers_are_told_before_a_hundredth_of_them_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**situations.CONFIG, "vocab_size": 8192, "hidden_size": 256}
    sizes = []
    for seed, name in enumerate(("base", "tuned")):
        draw = torch.Generator().manual_seed(seed)
        shapes = conftest.llama(layers=4, hidden=256, vocab=8192, dtype=torch.float16)
        state = {n: torch.randn(W.shape, generator=draw).half() for n, W in shapes.items()}
        conftest.write_model(tmp_path / name, state, config=config)
        sizes.append(sum(W.nbytes for W in state.values()))
    asked, lend = [0], MappedFile.lend

    def counted(file: MappedFile, start: int, stop: int) -> AbstractContextManager[memoryview]:
        asked[0] += stop - start
        return lend(file, start, stop)

    def measured(*_: object) -> None:
        raise BadCall("now it is measured")

    heard: list[str] = []
    monkeypatch.setattr(MappedFile, "lend", counted)
    monkeypatch.setattr(engine, "run", measured)
    with pytest.raises(BadCall, match="now it is measured"):
        engine.compare(tmp_path / "base", tmp_path / "tuned", say=heard.append)
    assert len(heard) == 1 and heard[0].startswith("unrelated to the base")
    assert 0 < asked[0] < 0.01 * sum(sizes)
    asked[0] = 0
    with pytest.raises(Mismatch, match="unrelated to the base"):
        engine.compare(tmp_path / "base", tmp_path / "tuned", strict=True)
    assert asked[0] < 0.01 * sum(sizes)
