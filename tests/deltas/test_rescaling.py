"""What is left beside a rescaling adds up over tensors, and is what float64 gives of the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.deltas.moments import Moments
from ftdiff.deltas.rescaling import settled, stretch, turned_sq
from ftdiff.tensors import Array


def sums(W: Array, dW: Array) -> tuple[float, float, float]:
    return float((W * W).sum()), float((W * dW).sum()), float((dW * dW).sum())


def moments(base_sq: float, inner: float, delta_sq: float, **counts: int) -> Moments:
    told = {"base_sq": (base_sq,), "inner": (inner,), "delta_sq": (delta_sq,)}
    return Moments(1, told, counts=counts)


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 0.1), st.booleans()), min_size=1, max_size=5),
    st.integers(0, 1000),
)
@settings(deadline=None)
def test_the_turn_of_a_group_is_that_of_its_tensors_end_to_end(
    tensors: list[tuple[float, float, bool]], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    Ws = [draw.normal(size=40) for _ in tensors]
    dWs = [k * W + s * draw.normal(size=40) for W, (k, s, _) in zip(Ws, tensors, strict=True)]
    base_sq, inner, delta_sq = zip(*(sums(W, d) for W, d in zip(Ws, dWs, strict=True)), strict=True)
    own = [turned_sq([b], [i], [d], [max(d - i * i / b, 0.0)])
           for b, i, d in zip(base_sq, inner, delta_sq, strict=True)]  # fmt: skip
    given_ = [o if second else None for o, (_, _, second) in zip(own, tensors, strict=True)]
    found = turned_sq(base_sq, inner, delta_sq, given_)
    if not any(second for _, _, second in tensors):
        assert found is None
        return
    W, dW = np.concatenate(Ws), np.concatenate(dWs)
    b, i, d = sums(W, dW)
    assert found == pytest.approx(float(((dW - i / b * W) ** 2).sum()), rel=1e-9, abs=1e-12 * d)


def test_no_order_of_tensors_changes_a_bit_of_their_turn() -> None:
    draw = np.random.default_rng(0)
    rows = [(*sums(W, 0.5 * W + 1e-7 * d), 1e-14) for W, d in draw.normal(size=(4, 2, 9))]
    totals = {turned_sq(*zip(*order, strict=True)) for order in itertools.permutations(rows)}
    assert len(totals) == 1


def test_a_second_look_is_taken_where_hardly_anything_but_a_rescaling_is_left() -> None:
    assert stretch(moments(4.0, 2.0, 1.00005)) == 0.5
    assert stretch(moments(4.0, 2.0, 0.99999999)) == 0.5  # rounding may leave less than nothing
    assert stretch(moments(4.0, 2.0, 1.001)) is None
    for nothing in ((0.0, 0.0, 1.0), (4.0, 0.0, 0.0), (4.0, float("nan"), 1.0)):
        assert stretch(moments(*nothing)) is None
    assert stretch(moments(4.0, 2.0, 1.0, nonfinite_tuned=1)) is None
    assert stretch(Moments(1, {"delta_sq": (1.0,)})) is None


def test_what_the_factor_was_off_is_no_turn() -> None:
    W = np.random.default_rng(1).normal(size=100)
    dW, x = 0.37 * W, 0.37 + 1e-8
    base_sq, _, delta_sq = sums(W, dW)
    R = dW - x * W
    second = Moments(1, {"delta_sq": (float((R * R).sum()),), "inner": (float((W * R).sum()),)})
    found = settled(moments(base_sq, x * base_sq, delta_sq), second)
    assert found.sums["turned_sq"][0] < 1e-22 * base_sq
    assert found.sums["inner"][0] / base_sq == pytest.approx(0.37, rel=1e-14)
