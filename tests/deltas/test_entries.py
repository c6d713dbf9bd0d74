"""Any run of entries of ΔW is what the whole holds there, for every recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.adapters import open_tuned
from ftdiff.comparison.plan import pair
from ftdiff.deltas.recipes import Added, Beside, Rebuilt, Recipe, Replaced, StoredDelta
from ftdiff.deltas.recipes.rebuilt import Rule
from ftdiff.deltas.recipes.replaced import Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.formats import open_checkpoint
from ftdiff.tensors import Array, ArrayTensor, LazyTensor

_W = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
_W1 = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)


class Doubled:
    def make(self, base: LazyTensor) -> Rule:
        return self

    def rows(self, W: Array, start: int) -> Array:
        return W * np.arange(start, start + len(W), dtype=np.float32)[:, None]


def _recipes() -> list[Recipe]:
    from ftdiff.deltas.recipes import Product

    A, B = ArrayTensor(_W1[:2]), ArrayTensor(np.ascontiguousarray(_W[:, :2]))
    return [
        Replaced(ArrayTensor(_W1)),
        StoredDelta(ArrayTensor(_W1)),
        Added((7, 5), Product(A, B, 0.5)),
        Rebuilt((7, 5), Doubled(), "rescaled", "it is needed"),
    ]


@pytest.mark.parametrize("recipe", _recipes(), ids=lambda r: r.form)
@given(st.integers(0, 35), st.integers(0, 35))
@settings(max_examples=30, deadline=None)
def test_any_run_of_entries_is_what_the_whole_holds_there(recipe: Recipe, a: int, b: int) -> None:
    start, stop = sorted((a, b))
    base = ArrayTensor(_W)
    whole = recipe.delta(base).dense().reshape(-1)
    found = recipe.entries(base)(start, stop)
    assert found.dtype == np.float64
    assert found == pytest.approx(whole[start:stop], abs=1e-6)


@pytest.mark.parametrize("tuned", ["full", "lora", "merged"])
def test_entries_of_trained_models_are_those_of_the_whole(fixtures: Path, tuned: str) -> None:
    base = open_checkpoint(fixtures / "base")
    for change in pair(base, open_tuned(fixtures / tuned, base)).changes[:12]:
        whole = change.recipe.delta(change.base).dense().reshape(-1)
        found = change.recipe.entries(change.base)(0, whole.size)
        assert found == pytest.approx(whole, abs=1e-6 * max(abs(whole).max(), 1e-30))


def test_what_has_no_change_says_so() -> None:
    with pytest.raises(BadAdapter, match="no weight changes"):
        Beside(ArrayTensor(_W), "it is a prompt").entries(None)
    with pytest.raises(BadAdapter, match="lost"):
        Unreadable((2,), "lost").entries(None)
