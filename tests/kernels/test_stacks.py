"""Products of stacked rows against `gram`, bit for bit, and transposing against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.kernels import Target, gram, stacked_gram, stacks, transposed
from ftdiff.tensors import Array
from tests.kernels.test_changes import TARGETS


def rows(m: int, n: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((m, n), np.float32)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=4),
    st.lists(st.integers(1, 90), max_size=3),
    st.sampled_from([1, 7, 8, 9, 255, 256, 257, 600]),
    st.integers(0, 99),
)
def test_a_stack_has_the_bits_of_each_pair(
    sizes: list[int], others: list[int], columns: int, seed: int
) -> None:
    X = [rows(m, columns, seed + i) for i, m in enumerate(sizes)]
    Y = [rows(m, columns, seed + 50 + i) for i, m in enumerate(others)] or None
    found = stacked_gram(X, Y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "LEAST", 1 << 60)
        want = gram(np.concatenate(X), None if Y is None else np.concatenate(Y))
    assert np.array_equal(found, want)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_stack_has_the_same_bits_on_other_processors(target: Target) -> None:
    X, Y = [rows(40, 1003, 1), rows(50, 1003, 2)], [rows(13, 1003, 3)]
    assert np.array_equal(stacked_gram(X), stacked_gram(X, target=target))
    assert np.array_equal(stacked_gram(X, Y), stacked_gram(X, Y, target=target))


def test_rows_may_be_apart_and_what_is_not_finite_stays() -> None:
    wide = rows(9, 700, 4)
    assert np.array_equal(stacked_gram([wide[::2, 3:600]]), stacked_gram([wide[::2, 3:600].copy()]))
    wide[3, 5] = np.nan
    found = stacked_gram([wide])
    assert np.isnan(found[3]).all() and np.isfinite(np.delete(np.delete(found, 3, 0), 3, 1)).all()


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_transposing_moves_every_entry_to_its_place(m: int, n: int, cut: int) -> None:
    M = rows(m + 9, n + 9, m)[cut:, cut:]
    assert np.array_equal(transposed(M), M.T)
    assert transposed(M).flags.c_contiguous
    assert np.array_equal(transposed(M[::2]), M[::2].T)
    assert np.array_equal(transposed(M[:, ::2]), M[:, ::2].T)
