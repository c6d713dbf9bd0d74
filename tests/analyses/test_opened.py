"""Changes that are opened when they are asked for, and how many of them are held."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import ftdiff
from ftdiff.analyses.pairwise import inner_products, opened
from ftdiff.analyses.pairwise.opened import Opened
from ftdiff.deltas.forms import Delta, LowRank, stacked_factors
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.errors import BadAdapter
from ftdiff.tensors import ArrayTensor

MADE: list[int] = []


@dataclass(frozen=True)
class Made:
    """A factor pair that is counted when it is made; 2 cannot be."""

    number: int
    A: ArrayTensor

    def make(self) -> Delta:
        MADE.append(self.number)
        if self.number == 2:
            raise BadAdapter("q_proj: lora_B is missing")
        A = np.full((3, 5), self.number, np.float32)
        A[0, 0] = np.nan if self.number == 1 else 0
        return LowRank(np.ones((4, 3), np.float32), A)


def line(count: int = 4) -> dict[int, Recipe]:
    factor = ArrayTensor(np.zeros((3, 5), np.float32))
    return {i: Added((4, 5), Made(i, factor)) for i in range(count)}


def test_a_few_stay_open_and_what_cannot_be_opened_is_named() -> None:
    MADE.clear()
    found = Opened("q_proj", line())
    assert found.complaints == {2: "q_proj: lora_B is missing"}
    assert [*found] == [0, 1, 3] and len(found) == 3
    assert found.nonfinite == {0: 0, 1: 4, 3: 0}
    assert found.in_order()[2] is found[3] is found[3]
    assert MADE == [0, 1, 2, 3]


def test_of_many_the_last_alone_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_HELD", 100)
    found = Opened("q_proj", line())
    for index in (0, 1, 3, 0):
        assert isinstance(found[index], LowRank)
        assert [*found._held] == [index]


def test_a_line_of_stored_factors_has_the_bits_of_opened_ones(
    fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked_factors, "_WIDE", 0)
    names = ("lora", "rslora", "lora")
    paths = [fixtures / name for name in names]
    found = ftdiff.similarity(paths, fixtures / "base").sums["inner"]
    opened: list[object] = []
    monkeypatch.setattr(inner_products.StoredFactors, "of", lambda recipes: opened.append(recipes))
    again = ftdiff.similarity(paths, fixtures / "base").sums["inner"]
    assert opened and np.array_equal(found, again)
