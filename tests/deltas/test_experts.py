"""Stacked experts: one pair of factors for all is the experts' own products, in every question."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.deltas.recipes import Added
from ftdiff.deltas.recipes.experts import ExpertProduct, StackedProduct
from ftdiff.tensors import ArrayTensor

experts = st.builds(
    lambda count, r, out, into, seed: (count, r, out, into, np.random.default_rng(seed)),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 99),
)


def drawn(case: tuple[int, int, int, int, np.random.Generator]) -> tuple[ArrayTensor, ArrayTensor]:
    count, r, out, into, draw = case
    A = draw.standard_normal((count * r, into)).astype(np.float32)
    B = draw.standard_normal((out, r * count)).astype(np.float32)
    return ArrayTensor(A), ArrayTensor(B)


def wanted(A: ArrayTensor, B: ArrayTensor, count: int, r: int, scaling: float) -> np.ndarray:
    """PEFT's own contraction: "o r e, e r i -> e o i"."""
    by_expert = A.array.astype(float).reshape(count, r, -1)
    last = B.array.astype(float).reshape(len(B.array), r, count)
    return scaling * np.einsum("ore,eri->eoi", last, by_expert)


@given(experts, st.booleans())
def test_stack_answers_as_the_experts_products(case: tuple, turned: bool) -> None:
    count, r, _, _, draw = case
    A, B = drawn(case)
    dW = wanted(A, B, count, r, 1.5)
    dW = dW.transpose(0, 2, 1) if turned else dW
    delta = StackedProduct(A, B, 1.5, count, turned).make()
    stack = dW.reshape(delta.shape)
    W = draw.standard_normal(delta.shape)
    np.testing.assert_allclose(delta.dense(), stack, rtol=1e-9, atol=1e-12)
    assert delta.sumsq() == pytest.approx(np.square(dW).sum(), rel=1e-6, abs=1e-12)
    assert delta.inner(W) == pytest.approx(np.vdot(W, stack), rel=1e-6, abs=1e-6)
    theirs = np.sort(np.linalg.svd(dW, compute_uv=False).ravel())[::-1]
    ours = delta.singular_values()
    np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=1e-6, atol=1e-5)
    assert not delta.nonfinite()


@given(experts, st.data())
def test_rows_of_a_stack_are_cut_anywhere(case: tuple, data: st.DataObject) -> None:
    count = case[0]
    delta = StackedProduct(*drawn(case), 0.5, count).make()
    rows = delta.shape[0]
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    assert np.array_equal(delta.rows(start, stop), delta.rows(0, rows)[start:stop])


@given(experts)
def test_an_expert_stored_apart_is_its_part_of_the_stack(case: tuple) -> None:
    count, _, out, _, _ = case
    A, B = drawn(case)
    stack = StackedProduct(A, B, 2.0, count).make().dense()
    half = out // 2
    for expert in range(count):
        mine = stack[expert * out : (expert + 1) * out]
        for first, rows in ((0, half), (half, out - half)):
            cut = ExpertProduct(A, B, 2.0, count, expert, first, rows).make()
            assert np.array_equal(cut.dense(), mine[first : first + rows])


@given(experts)
def test_a_stacked_tensor_is_measured_as_its_rows(case: tuple) -> None:
    count, _, out, into, draw = case
    A, B = drawn(case)
    W = draw.standard_normal((count, out, into)).astype(np.float32)
    recipe = Added(W.shape, StackedProduct(A, B, 1.0, count), view=(count * out, into))
    row = recipe.moments(ArrayTensor(W)).row()
    dW = wanted(A, B, count, case[1], 1.0)
    tuned = W.astype(float) + dW
    assert row["delta_sq"] == pytest.approx(np.square(dW).sum(), rel=1e-6, abs=1e-12)
    assert row["tuned_sq"] == pytest.approx(np.square(tuned).sum(), rel=1e-5, abs=1e-9)
    assert recipe.moments(None).row()["delta_sq"] == row["delta_sq"]


def test_what_is_no_number_spoils_only_its_expert() -> None:
    A = ArrayTensor(np.ones((4, 3), np.float32))
    B = ArrayTensor(np.ones((5, 4), np.float32))
    B.array[2, 1] = np.inf  # rank 0 of expert 1
    delta = StackedProduct(A, B, 1.0, 2).make()
    assert delta.nonfinite() == 3
    assert delta.sumsq() == pytest.approx(4.0 * (15 + 12))
