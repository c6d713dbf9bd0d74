"""All inner products of many changes are those of the changes multiplied out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.deltas.forms import Delta, Dense, Hadamard, Kronecker, LowRank
from ftdiff.deltas.forms.inner_products import inner_products
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.tensors import Array

SHAPE = (12, 20)
draw = np.random.default_rng(5)


def normal(*shape: int) -> Array:
    return draw.normal(size=shape).astype(np.float32)


def low(rank: int, scaling: float = 0.5, shape: tuple[int, int] = SHAPE) -> LowRank:
    return LowRank(normal(shape[0], rank), normal(rank, shape[1]), scaling)


def dense(deltas: Sequence[Delta]) -> Array:
    flat = np.stack([np.nan_to_num(d.dense(), nan=0, posinf=0, neginf=0).ravel() for d in deltas])
    return np.asarray(flat @ flat.T)


FAMILIES: dict[str, list[Delta]] = {
    "low-rank, of many ranks": [low(1), low(4, -2.0), low(7), low(20, 1e-3)],
    "hadamard beside low-rank": [Hadamard(low(1), low(2), 3.0), low(2), Hadamard(low(2), low(1))],
    "kronecker": [
        Kronecker(Dense(normal(3, 4)), low(2, 1.0, (4, 5)), 0.3),
        Kronecker(Dense(normal(3, 4)), low(1, 1.0, (4, 5)), -1.0),
    ],
    "kronecker, a side of two forms": [
        Kronecker(low(1, 1.0, (3, 4)), low(2, 1.0, (4, 5)), 0.3),
        Kronecker(Dense(normal(3, 4)), Dense(normal(4, 5)), 2.0),
    ],
    "stacked": [
        Stacked([low(2, 1.0, (4, 20)) for _ in range(3)]),
        Stacked([low(1, -1.0, (4, 20)) for _ in range(3)]),
    ],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_inner_products_are_those_of_changes_multiplied_out(family: str) -> None:
    deltas = FAMILIES[family]
    found = inner_products(deltas)
    assert (found == found.T).all()
    assert found == pytest.approx(dense(deltas), rel=1e-12, abs=1e-12)


def test_two_forms_without_a_cheap_product_have_none() -> None:
    deltas = [low(2), Dense(normal(*SHAPE)), FAMILIES["kronecker"][0], low(3)]
    found = inner_products(deltas)
    known = np.isfinite(found)
    assert known.tolist() == [
        [True, False, False, True],
        [False, False, False, False],
        [False, False, True, False],
        [True, False, False, True],
    ]
    assert found[known] == pytest.approx(dense(deltas)[known], rel=1e-12)


@given(st.integers(1, 6), st.floats(0, 4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_splitting_a_product_otherwise_between_its_factors_changes_nothing(
    rank: int, skew: float, seed: int
) -> None:
    own = np.random.default_rng(seed)
    first, second = low(rank), low(3)
    left, _, right = np.linalg.svd(own.normal(size=(rank, rank)))
    M = left @ np.diag(np.logspace(0, skew, rank)) @ right  # cond M = 10^skew
    B, A = first.B.astype(np.float64) @ M, np.linalg.inv(M) @ first.A.astype(np.float64)
    plain = inner_products([first, second])
    turned = inner_products([LowRank(B, A, first.scaling), second])
    scale = np.sqrt(np.outer(np.diag(plain), np.diag(plain)))
    rounding = max(1e-10, 1e-16 * 10 ** (2 * skew))  # B M and M⁻¹ A are rounded, cond M apart
    assert (turned - plain) / scale == pytest.approx(0, abs=rounding)


def test_a_product_small_beside_its_factors_keeps_its_digits() -> None:
    B = normal(12, 2)
    A = normal(2, 20)
    nearly = LowRank(
        np.hstack([B, -B]).astype(np.float64) * 1e5,
        np.vstack([A, A * (1 - 2**-20)]).astype(np.float64),
    )
    both = [nearly, low(2)]
    assert inner_products(both) == pytest.approx(dense(both), rel=1e-6)


def test_entries_that_are_not_finite_count_as_zero() -> None:
    broken = low(2)
    broken.B[3, 0] = np.nan
    broken.A[1, 7] = np.inf
    both = [broken, low(3)]
    want = [np.where(np.isfinite(d.dense()), d.dense(), 0) for d in both]
    flat = np.stack([w.ravel() for w in want])
    assert inner_products(both) == pytest.approx(flat @ flat.T, rel=1e-12)


def test_a_dead_change_has_zeros_only() -> None:
    dead = LowRank(np.zeros((12, 4), np.float32), normal(4, 20))
    found = inner_products([dead, low(2), LowRank(normal(12, 0), normal(0, 20))])
    assert (found[[0, 2]] == 0).all() and (found[:, [0, 2]] == 0).all()
