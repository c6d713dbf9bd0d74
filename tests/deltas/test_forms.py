"""Every form of ΔW answers what the multiplied-out matrix would."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.deltas.forms import Delta, Dense, Hadamard, Kronecker, LowRank
from ftdiff.deltas.forms.stacked import Stacked

SIDES = st.integers(1, 9)
SCALINGS = st.sampled_from([1.0, -0.5, 3.0, 0.0, 1e-4])
SEEDS = st.integers(0, 2**32 - 1)


def random(draw: np.random.Generator, *shape: int) -> np.ndarray:
    return draw.standard_normal(shape).astype(np.float32)


def low_rank(draw: np.random.Generator, rows: int, columns: int, r: int, scaling: float) -> LowRank:
    return LowRank(random(draw, rows, r), random(draw, r, columns), scaling)


@st.composite
def dense(draw: st.DrawFn) -> Dense:
    rng = np.random.default_rng(draw(SEEDS))
    return Dense(random(rng, draw(SIDES), draw(SIDES)))


@st.composite
def low_ranks(draw: st.DrawFn) -> LowRank:
    """Tall and wide, of rank 0, 1, and larger than both sides."""
    rng = np.random.default_rng(draw(SEEDS))
    return low_rank(rng, draw(SIDES), draw(SIDES), draw(st.integers(0, 12)), draw(SCALINGS))


@st.composite
def kroneckers(draw: st.DrawFn) -> Kronecker:
    side = st.one_of(dense(), low_ranks())
    return Kronecker(draw(side), draw(side), draw(SCALINGS))


@st.composite
def hadamards(draw: st.DrawFn) -> Hadamard:
    rng = np.random.default_rng(draw(SEEDS))
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    P, Q = (low_rank(rng, rows, columns, draw(st.integers(1, 5)), 1.0) for _ in range(2))
    return Hadamard(P, Q, draw(SCALINGS))


FORMS = st.one_of(dense(), low_ranks(), kroneckers(), hadamards())


def largest(delta: Delta) -> Delta:
    """Return the same without any sign, which no entry exceeds, however the terms cancel."""
    if isinstance(delta, Dense):
        return Dense(abs(delta.dW))
    if isinstance(delta, LowRank):
        return LowRank(abs(delta.B), abs(delta.A), abs(delta.scaling))
    if isinstance(delta, Kronecker):
        return Kronecker(largest(delta.C), largest(delta.D), abs(delta.scaling))
    assert isinstance(delta, Hadamard)
    P, Q = largest(delta.P), largest(delta.Q)
    assert isinstance(P, LowRank) and isinstance(Q, LowRank)
    return Hadamard(P, Q, abs(delta.scaling))


def size_of(delta: Delta) -> float:
    """The norm that ΔW would have if nothing in it cancelled: what rounding is relative to."""
    return float(np.linalg.norm(largest(delta).dense()))


@given(FORMS)
def test_shape_is_that_of_the_dense_matrix(delta: Delta) -> None:
    assert delta.dense().shape == delta.shape


@given(FORMS)
def test_sumsq_equals_that_of_the_dense_matrix(delta: Delta) -> None:
    dW = delta.dense()
    exact, size = np.square(dW).sum(), size_of(delta)
    assert math.sqrt(delta.sumsq()) == pytest.approx(math.sqrt(exact), rel=1e-6, abs=1e-7 * size)


@given(FORMS, st.integers(0, 1))
def test_squares_of_rows_and_columns_equal_those_of_the_dense_matrix(
    delta: Delta, axis: int
) -> None:
    W, most = delta.dense(), np.square(largest(delta).dense())
    error = np.abs(delta.squares(axis) - np.square(W).sum(axis=1 - axis))
    assert (error <= 1e-6 * most.sum(axis=1 - axis)).all()


@given(st.lists(SEEDS, min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 9))
def test_squares_of_stacked_experts_equal_those_of_the_dense_stack(
    seeds: list[int], rows: int, columns: int
) -> None:
    parts = [low_rank(np.random.default_rng(s), rows, columns, 2, 0.5) for s in seeds]
    stack = Stacked(parts)
    for axis in (0, 1):
        squares = np.square(stack.dense()).sum(axis=1 - axis)
        assert stack.squares(axis) == pytest.approx(squares, rel=1e-9, abs=1e-12)


@given(FORMS, SEEDS)
def test_inner_equals_that_of_the_dense_matrix(delta: Delta, seed: int) -> None:
    dW = delta.dense()
    W = random(np.random.default_rng(seed), *delta.shape)
    assert delta.inner(W) == pytest.approx((dW * W).sum(), rel=1e-9, abs=1e-12 * size_of(delta))


@given(FORMS)
def test_singular_values_equal_those_of_the_dense_matrix(delta: Delta) -> None:
    dW = delta.dense()
    expected = torch.linalg.svdvals(torch.from_numpy(dW)).numpy()
    found = delta.singular_values()
    assert (np.diff(found) <= 0).all()
    found = np.sort(np.concatenate([found, np.zeros(len(expected))]))[::-1]
    np.testing.assert_allclose(
        found[: len(expected)], expected, rtol=1e-6, atol=1e-6 * size_of(delta)
    )
    np.testing.assert_allclose(found[len(expected) :], 0, atol=1e-6 * size_of(delta))


@given(FORMS, st.data())
def test_rows_are_rows_of_the_dense_matrix_for_any_cut(delta: Delta, data: st.DataObject) -> None:
    dW = delta.dense()
    cut = data.draw(st.integers(0, delta.shape[0]))
    whole = delta.rows(0, delta.shape[0])
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, dW, rtol=1e-5, atol=1e-6 * size_of(delta))
    parts = [delta.rows(0, cut), delta.rows(cut, delta.shape[0])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def poison(delta: Delta, data: st.DataObject) -> Delta:
    """Return the same form with a NaN or an infinity in one of its arrays."""
    bad = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))

    def spoiled(M: np.ndarray) -> np.ndarray:
        M = M.copy()
        if M.size:
            M.flat[data.draw(st.integers(0, M.size - 1))] = bad
        return M

    if isinstance(delta, Dense):
        return Dense(spoiled(delta.dW))
    if isinstance(delta, LowRank):
        return LowRank(spoiled(delta.B), spoiled(delta.A), delta.scaling)
    if isinstance(delta, Kronecker):
        return Kronecker(poison(delta.C, data), delta.D, delta.scaling)
    assert isinstance(delta, Hadamard)
    P, Q = poison(delta.P, data), poison(delta.Q, data)
    assert isinstance(P, LowRank) and isinstance(Q, LowRank)
    return Hadamard(P, Q, delta.scaling)


@given(FORMS, st.data())
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_entries_that_are_not_finite_are_counted_and_left_out(
    delta: Delta, data: st.DataObject
) -> None:
    delta = poison(delta, data)
    dW = delta.dense()
    finite = np.isfinite(dW)
    assert delta.nonfinite() == dW.size - finite.sum()
    assert math.sqrt(delta.sumsq()) == pytest.approx(np.linalg.norm(dW[finite]), rel=1e-4)
    for axis in (0, 1):
        norm = math.sqrt(delta.squares(axis).sum())
        assert norm == pytest.approx(np.linalg.norm(dW[finite]), rel=1e-4)
    assert finite.all() or np.isnan(delta.singular_values()).any()


@given(low_ranks(), SEEDS)
def test_low_rank_does_not_depend_on_the_gauge(delta: LowRank, seed: int) -> None:
    r = delta.rank
    rng = np.random.default_rng(seed)
    M = np.linalg.qr(rng.standard_normal((r, r)))[0] * np.exp(rng.uniform(-1, 1, r))
    B, A = (delta.B @ M).astype(np.float32), np.linalg.solve(M, delta.A).astype(np.float32)
    other = LowRank(B, A, delta.scaling)
    atol = 1e-5 * size_of(delta)
    np.testing.assert_allclose(other.singular_values(), delta.singular_values(), atol=atol)
    assert math.sqrt(other.sumsq()) == pytest.approx(math.sqrt(delta.sumsq()), rel=1e-3, abs=atol)


@pytest.mark.parametrize("form", [LowRank, Kronecker, Hadamard])
def test_singular_values_have_no_sign(form: type) -> None:
    rng = np.random.default_rng(0)
    P, Q = (low_rank(rng, 6, 5, 2, 1.0) for _ in range(2))
    delta = LowRank(P.B, P.A, -2.0) if form is LowRank else form(P, Q, -2.0)
    found = delta.singular_values()
    assert (found > -1e-9).all()
    assert (np.diff(found) <= 0).all()


@given(low_ranks(), low_ranks())
def test_kronecker_norm_is_the_product_of_norms(C: LowRank, D: LowRank) -> None:
    assert Kronecker(C, D, 2.0).sumsq() == pytest.approx(4.0 * C.sumsq() * D.sumsq(), rel=1e-12)


@pytest.mark.parametrize("r", [1, 3, 20])
def test_hadamard_norm_is_the_same_by_tiles_and_by_factors(r: int) -> None:
    rng = np.random.default_rng(r)
    delta = Hadamard(low_rank(rng, 400, 300, r, 1.0), low_rank(rng, 400, 300, r, 2.0), 0.5)
    exact = np.square(delta.dense()).sum()
    assert delta.sumsq() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        lambda rng: low_rank(rng, 300, 200, 4, 0.5),
        lambda rng: Kronecker(Dense(random(rng, 15, 10)), low_rank(rng, 20, 20, 3, 1.0), 0.5),
        lambda rng: Hadamard(low_rank(rng, 300, 200, 3, 1), low_rank(rng, 300, 200, 2, 1), 2.0),
    ],
    ids=["low rank", "kronecker", "hadamard"],
)
def test_no_form_multiplies_itself_out_for_its_norm(
    form: Callable[[np.random.Generator], Delta], monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = form(np.random.default_rng(0))
    expected = np.square(delta.dense()).sum()

    def refuse(*_: object) -> None:
        raise AssertionError("multiplied out")

    for kind in (LowRank, Kronecker, Hadamard):
        monkeypatch.setattr(kind, "dense", refuse)
        monkeypatch.setattr(kind, "rows", refuse)
    assert delta.sumsq() == pytest.approx(expected, rel=1e-6)
    assert len(delta.singular_values())
