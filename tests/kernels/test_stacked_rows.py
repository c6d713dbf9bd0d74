"""Products of stored rows in float32 chains: against NumPy, any cut, any processor, any dtype."""

from __future__ import annotations

import numpy as np
import pytest

from ftdiff.errors import BadCall
from ftdiff.kernels import CHANGED, Target, row_products
from ftdiff.kernels.readers import LONG
from ftdiff.tensors import Array
from tests.kernels.test_changes import TARGETS
from tests.kernels.test_kernels import usual


def rows(code: str, m: int, columns: int, seed: int) -> Array:
    return usual(code, m * columns, seed).reshape(m, columns)


@pytest.mark.parametrize("code", sorted(CHANGED))
@pytest.mark.parametrize("columns", [1, LONG - 1, LONG, 3 * LONG + 77])
def test_products_of_every_dtype_are_numpys(code: str, columns: int) -> None:
    X, Y = rows(code, 7, columns, 1), rows(code, 4, columns, 2)
    wide = [M.astype(np.float64) for M in (X, Y)]
    size = np.multiply.outer(*(np.linalg.norm(M, axis=1) for M in wide))
    assert np.all(np.abs(row_products(X, Y, code) - wide[0] @ wide[1].T) <= 1e-7 * size)
    own = row_products(X, dtype=code)
    assert np.array_equal(own, own.T) and np.array_equal(own, row_products(X, X, code))


def test_neither_a_cut_nor_the_dtype_that_holds_them_changes_a_bit() -> None:
    X = rows("BF16", 171, 2 * LONG + 5, 3)
    whole = row_products(X, dtype="BF16")
    assert np.array_equal(whole[20:160, 3:101], row_products(X[20:160], X[3:101], "BF16"))
    assert np.array_equal(whole[:90, :90], row_products(X[:90], dtype="BF16"))
    assert np.array_equal(whole, row_products(X.astype(np.float32)))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_other_processors_have_the_same_bits(target: Target) -> None:
    for code in ("BF16", "F16", "F32"):
        X, Y = rows(code, 13, LONG + 9, 4), rows(code, 6, LONG + 9, 5)
        assert np.array_equal(row_products(X, Y, code), row_products(X, Y, code, target=target))
        assert np.array_equal(row_products(X, None, code), row_products(X, X, code, target=target))


def test_what_is_not_finite_stays_in_its_row() -> None:
    X = rows("F32", 9, LONG + 3, 6)
    X[3, 5], X[4] = np.nan, X[4] * np.float32(1e30)
    found = row_products(X)
    assert np.isnan(found[3]).all() and np.isinf(found[4, 4])
    rest = [0, 1, 2, 5, 6, 7, 8]
    assert np.array_equal(found[np.ix_(rest, rest)], row_products(X[rest]))


def test_what_does_not_fit_is_refused() -> None:
    X = np.zeros((2, 3), np.float32)
    for wrong in ((X, np.zeros((2, 4), np.float32), "F32"), (X, None, "F64"), (X, None, "BF16")):
        with pytest.raises(BadCall, match="row_products"):
            row_products(*wrong)
    assert row_products(np.zeros((2, 0), np.float32)).tolist() == [[0, 0], [0, 0]]
