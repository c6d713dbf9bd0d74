from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Added, Product, Recipe, Replaced, Unreadable
from ftdiff.errors import BadAdapter
from ftdiff.tensors import ArrayTensor, LazyTensor


def _draw(seed: int, *shape: int) -> ArrayTensor:
    return ArrayTensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def _in_parts(recipe: Recipe, base: LazyTensor | None, cuts: list[int]) -> Moments:
    tiles = recipe.tiles(base)
    marks = sorted({0, tiles, *(cut % (tiles + 1) for cut in cuts)})
    total = Moments()
    for start, stop in pairwise(marks):
        total += recipe.moments(base, range(start, stop))
    return total


@given(st.lists(st.integers(0, 10), max_size=4))
@settings(max_examples=10, deadline=None)
def test_tiles_of_every_recipe_add_up_to_the_whole(cuts: list[int]) -> None:
    base = _draw(0, 1200, 700)
    for recipe in (
        Replaced(_draw(1, 1200, 700)),
        Added((1200, 700), Product(_draw(2, 4, 700), _draw(3, 1200, 4), 0.5)),
    ):
        assert recipe.tiles(base) > 3
        assert _in_parts(recipe, base, cuts) == recipe.moments(base)


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    rank=st.integers(1, 6),
    turned=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_factored_change_measures_like_its_product(
    rows: int, columns: int, rank: int, turned: bool
) -> None:
    A, B = _draw(1, rank, columns), _draw(2, rows, rank)
    shape = (columns, rows) if turned else (rows, columns)
    base = _draw(3, *shape)
    recipe = Added(shape, Product(A, B, 0.25, turned))
    dW = 0.25 * (B.array.astype(float) @ A.array.astype(float))
    dW = dW.T if turned else dW
    assert recipe.delta(base).dense() == pytest.approx(dW)
    row = recipe.moments(base).row()
    W = base.array.astype(float)
    scale = np.sqrt((W**2).sum() * (dW**2).sum())
    assert row["delta_sq"] == pytest.approx((dW**2).sum(), rel=1e-12)
    assert row["inner"] == pytest.approx((W * dW).sum(), abs=1e-6 * scale)
    assert row["tuned_sq"] == pytest.approx(((W + dW) ** 2).sum(), rel=1e-6)
    assert row["delta_max"] == pytest.approx(np.abs(dW).max(), rel=1e-5)
    assert recipe.moments(None).row()["delta_sq"] == row["delta_sq"]


def test_a_broken_factor_spoils_its_rows_and_columns_only() -> None:
    A, B = _draw(1, 3, 8), _draw(2, 5, 3)
    B.array[2, 0] = np.nan
    A.array[1, 4] = np.inf
    base = _draw(3, 5, 8)
    recipe = Added((5, 8), Product(A, B, 1.0))
    dW = B.array.astype(float) @ np.nan_to_num(A.array, posinf=np.nan).astype(float)
    good = np.isfinite(dW)
    for row in (recipe.moments(base).row(), recipe.moments(None).row()):
        assert row["nonfinite_tuned"] == (~good).sum() == 12
        assert row["delta_sq"] == pytest.approx((dW[good] ** 2).sum())


def test_rotated_factors_lose_no_digits() -> None:
    rng = np.random.default_rng(0)
    B, A = rng.normal(size=(200, 8)), rng.normal(size=(8, 300))
    T = rng.normal(size=(8, 8)) @ np.diag(np.logspace(0, -6, 8)) @ rng.normal(size=(8, 8))
    turned = LowRank(B @ T, np.linalg.solve(T, A))
    assert turned.sumsq() == pytest.approx(((B @ A) ** 2).sum(), rel=1e-6)
    assert turned.singular_values() == pytest.approx(LowRank(B, A).singular_values(), rel=1e-5)


def test_the_same_array_compared_with_itself_has_not_moved() -> None:
    tensor = _draw(0, 70, 30)
    row = Replaced(tensor).moments(tensor).row()
    assert row["delta_sq"] == row["unequal"] == row["delta_max"] == 0


def test_without_a_base_a_replacement_has_only_its_own_norm() -> None:
    tensor = _draw(0, 7, 3)
    row = Replaced(tensor).moments(None).row()
    assert row["tuned_sq"] == pytest.approx((tensor.array.astype(float) ** 2).sum(), rel=1e-7)
    assert row["base_sq"] is row["delta_sq"] is row["unequal"] is None


def test_an_unreadable_change_says_why() -> None:
    with pytest.raises(BadAdapter, match="no lora_B"):
        Unreadable((3, 4), "q_proj: adapter has lora_A (2×4) but no lora_B").moments(None)
