"""Factors as files store them: the bits of the same changes when they are opened."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from ftdiff.deltas.forms import stacked_factors
from ftdiff.deltas.forms.factor_stack import LowRanks
from ftdiff.deltas.forms.stacked_factors import all_products
from ftdiff.deltas.recipes import Added, Product, StoredDelta
from ftdiff.deltas.recipes.stored_factors import StoredFactors
from ftdiff.tensors import ArrayTensor

ROWS, COLUMNS = 90, 700


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of float32 for the small shapes of tests."""
    monkeypatch.setattr(stacked_factors, "_WIDE", 0)


def made(rank: int, seed: int, dtype: type = ml_dtypes.bfloat16, transposed: bool = False) -> Added:
    rng = np.random.default_rng(seed)
    rows, columns = (COLUMNS, ROWS) if transposed else (ROWS, COLUMNS)
    A = ArrayTensor(rng.standard_normal((rank, columns)).astype(dtype))
    B = ArrayTensor(rng.standard_normal((rows, rank)).astype(dtype))
    return Added((ROWS, COLUMNS), Product(A, B, 0.5 + seed, transposed))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
@pytest.mark.parametrize("rows", [20, 800])
def test_stored_factors_have_the_bits_of_opened_ones(
    dtype: type, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = [made(rank, i, dtype, i % 3 == 1) for i, rank in enumerate((16, 3, 32, 1, 17, 64))]
    stored = StoredFactors.of(recipes)
    assert stored is not None and stored.shape == (ROWS, COLUMNS)
    want = all_products(LowRanks([one.delta(None) for one in recipes]))
    monkeypatch.setattr(stacked_factors, "_STACKED", rows)
    found = all_products(stored)
    assert np.array_equal(found[0], want[0]) and found[1] == want[1] == []
    flat = np.stack([one.delta(None).dense().ravel() for one in recipes])
    size = np.linalg.norm(flat, axis=1)
    assert found[0] / np.outer(size, size) == pytest.approx(
        flat @ flat.T / np.outer(size, size), abs=1e-7
    )


def test_entries_that_are_not_finite_count_as_zero_and_are_known() -> None:
    recipes = [made(4, i, np.float32) for i in range(3)]
    recipes[1].maker.A.array[2, 5] = np.nan
    stored = StoredFactors.of(recipes)
    assert stored is not None
    found, careful = all_products(stored)
    flat = np.stack([one.delta(None).dense().ravel() for one in recipes])
    flat[~np.isfinite(flat)] = 0
    assert careful == [1]
    assert found == pytest.approx(flat @ flat.T, rel=1e-5)


def test_what_is_no_product_of_two_tensors_of_one_dtype_has_none() -> None:
    other = StoredDelta(ArrayTensor(np.zeros((ROWS, COLUMNS), np.float32)))
    assert StoredFactors.of([made(4, 0), other]) is None
    assert StoredFactors.of([made(4, 0), made(4, 1, np.float32)]) is None
    assert StoredFactors.of([made(4, 0, np.int8)]) is None
    assert StoredFactors.of([]) is None
