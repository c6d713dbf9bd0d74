"""Want of memory for one tensor costs that tensor in every room, and is said in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ftdiff
from ftdiff.analyses import parts
from ftdiff.analyses.parts import tasks as work
from ftdiff.cli import ftdiff as door
from ftdiff.deltas.recipes import Replaced
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import FileTensor
from tests.conftest import FIXTURES

BASE, FULL, LORA = FIXTURES / "base", FIXTURES / "full", FIXTURES / "lora"
Q = "model.layers.3.self_attn.q_proj.weight"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let no window of one tensor of the base be lent, and return the complaint."""
    place = open_checkpoint(BASE).tensors[Q]
    lend = FileTensor.window

    def window(self: FileTensor, start: int, stop: int) -> Any:
        if self == place:
            raise MemoryError("9 TiB")
        return lend(self, start, stop)

    monkeypatch.setattr(FileTensor, "window", window)
    return f"{Q}: not enough memory (9 TiB)"


def test_a_comparison_keeps_the_rest(narrow: str) -> None:
    diff = ftdiff.compare(BASE, FULL)
    assert diff.about["unreadable"] == {Q: narrow}
    assert diff.frame["status"].value_counts().to_dict() == {"changed": 337, "unreadable": 1}


def test_heads_keep_the_rest(narrow: str) -> None:
    whole = parts.heads(BASE, LORA).frame["tensor"].nunique()
    assert parts.heads(BASE, FULL).about["unreadable"] == {Q: narrow}
    assert parts.heads(BASE, FULL).frame["tensor"].nunique() >= whole
    assert Q not in set(parts.heads(BASE, FULL).frame["tensor"])


def test_a_verification_keeps_the_rest(narrow: str) -> None:
    found = ftdiff.verify(BASE, LORA, FIXTURES / "merged")
    counts = found.frame["status"].value_counts().to_dict()
    assert counts == {"equal": 195, "untouched": 142, "unreadable": 1}
    assert found.frame.set_index("tensor")["said"][Q] == narrow
    assert found.exit_code == 2


def test_a_parent_is_found_all_the_same(narrow: str) -> None:
    from ftdiff.analyses.lineage import lineage

    found = lineage(FULL, [BASE, FIXTURES / "merged"])
    assert found.parent == str(BASE)
    assert "1 tensors cannot be read" in found.sentences[1]


def test_a_sample_says_what_it_could_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftdiff.analyses import lineage, lineage_sample

    measure = Replaced.moments

    def moments(self: Replaced, base: Any, tiles: Any = None) -> Any:
        if self.shape == (258, 36):
            raise MemoryError
        return measure(self, base, tiles)

    monkeypatch.setattr(Replaced, "moments", moments)
    base = open_checkpoint(BASE)

    def sampled(tuned: Any) -> dict[str, Any]:
        (found,) = lineage_sample.sample([base], tuned)
        return lineage._of_sample(base, found)

    tuned = ftdiff.open_tuned(FULL)
    row = sampled(tuned)
    assert row["measured"] == "sample" and row["tensors"] > 0
    lost = "model.embed_tokens.weight: not enough memory"
    assert row["said"] in ("", lost)  # by what the sample drew
    every = dataclasses.replace(tuned, recipes={"model.embed_tokens.weight": Replaced(
        open_checkpoint(FULL).tensors["model.embed_tokens.weight"])})  # fmt: skip
    assert sampled(every)["said"] == lost


@pytest.mark.parametrize(
    "command",
    [("compare", BASE, FULL), ("parts", BASE, FULL), ("verify", BASE, LORA, FIXTURES / "merged")],
    ids=lambda command: command[0],
)
def test_the_shell_keeps_the_rest_and_exits_with_2(
    narrow: str, command: tuple[str | Path, ...]
) -> None:
    found = CliRunner().invoke(door, [*map(str, command)])
    assert found.exit_code == 2
    assert found.exception is None or isinstance(found.exception, SystemExit)
    assert "not enough memory" in found.output
    assert len(found.output.splitlines()) > 5


def test_the_lines_of_one_tensor_travel_as_a_complaint(narrow: str) -> None:
    from ftdiff.comparison.plan import pair

    plan = pair(open_checkpoint(BASE), ftdiff.open_tuned(FULL))
    change = next(change for change in plan.changes if change.address.name == Q)
    assert work.measured([(change, 0)]) == [narrow]
