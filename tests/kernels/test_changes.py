"""Products of many changes against NumPy, and against themselves for any cut and processor."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.errors import BadCall
from ftdiff.kernels import CHANGED, ROW, Stored, Target, change_products, host
from ftdiff.kernels.readers import TILE
from ftdiff.tensors import Array
from tests.kernels.test_kernels import any_bits, same_bits, usual

#: This processor with narrower registers or fewer of them, without fused sums, and older ones.
TARGETS = [Target("", half=False, fused=False)]
if host().fused:
    TARGETS += [
        Target("", host().half, fused=True, registers=registers, lanes=lanes)
        for registers, lanes in ((16, 8), (32, 4), (32, 8))
    ]
if platform.machine().lower() in ("x86_64", "amd64"):
    TARGETS.append(Target("x86-64", half=False, fused=False))
    if host().half and host().fused:
        TARGETS.append(Target("haswell", half=True, fused=True))


def stored(code: str, n: int, size: int, seed: int) -> list[Stored]:
    return [Stored(usual(code, size, seed + i), code) for i in range(n)]


def differences(base: Array, tuned: list[Stored]) -> Array:
    """The changes in float64."""
    W = base.astype(np.float64)
    return np.stack([t.entries.astype(np.float64) - (0 if t.delta else W) for t in tuned])


def assert_products(found: Array, D: Array, within: float = 2e-7) -> None:
    G = D @ D.T
    size = np.sqrt(np.outer(np.diag(G), np.diag(G)))
    assert np.array_equal(found, found.transpose(0, 2, 1))
    assert np.all(np.abs(found.sum(axis=0) - G) <= within * size)


@pytest.mark.parametrize("code", sorted(CHANGED))
def test_every_product_of_every_dtype_is_numpys(code: str) -> None:
    for n in (1, 2, 6):
        base, tuned = usual(code, 3 * TILE + 77, 1), stored(code, n, 3 * TILE + 77, 2)
        products, nonfinite = change_products(base, code, tuned)
        assert_products(products, differences(base, tuned))
        assert not nonfinite.any()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 10, 11, 16, 17, 23])
def test_no_number_of_fine_tunes_loses_a_pair(n: int) -> None:
    base, tuned = usual("BF16", 1000, 3), stored("BF16", n, 1000, 4)
    assert_products(change_products(base, "BF16", tuned)[0], differences(base, tuned))


@pytest.mark.parametrize("size", [0, 1, 15, TILE - 1, TILE, TILE + 1, ROW - 1, ROW, ROW + 1])
def test_no_size_loses_or_invents_an_entry(size: int) -> None:
    base, tuned = usual("F32", size, 5), stored("F32", 2, size, 6)
    products, _ = change_products(base, "F32", tuned)
    assert len(products) == -(-size // ROW)
    assert_products(products, differences(base, tuned))


def test_what_float32_holds_is_multiplied_and_summed_in_float64() -> None:
    base, tuned = usual("BF16", 1 << 18, 7), stored("BF16", 4, 1 << 18, 8)
    assert_products(change_products(base, "BF16", tuned)[0], differences(base, tuned), 1e-11)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("code", ["BF16", "F16", "F32", "F8_E4M3", "I16"])
def test_other_processors_get_the_same_bits(code: str, target: Target) -> None:
    for make in (usual, any_bits):
        base = make(code, 2 * TILE + 100, 8)
        tuned = [Stored(make(code, base.size, 9 + i), code) for i in range(7)]
        here = change_products(base, code, tuned)
        there = change_products(base, code, tuned, target=target)
        assert same_bits(here, there)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 99), st.permutations(range(5)))
def test_a_pair_has_the_bits_that_it_has_alone(n: int, seed: int, order: list[int]) -> None:
    base, tuned = usual("BF16", 2000, seed), stored("BF16", max(n, 5), 2000, seed + 1)
    whole, _ = change_products(base, "BF16", tuned)
    some, _ = change_products(base, "BF16", [tuned[i] for i in order])
    assert np.array_equal(some, whole[:, order][:, :, order])


def test_rows_are_summed_alone_and_threads_agree() -> None:
    size = 2 * ROW + 777
    base, tuned = usual("BF16", size, 10), stored("BF16", 6, size, 11)
    together = change_products(base, "BF16", tuned)
    for k in range(3):
        cut = slice(k * ROW, (k + 1) * ROW)
        some = [Stored(one.entries[cut], one.dtype) for one in tuned]
        alone = change_products(base[cut], "BF16", some)
        assert np.array_equal(alone[0], together[0][k : k + 1])
    with ThreadPoolExecutor(4) as pool:
        call = partial(change_products, base, "BF16", tuned)
        assert all(same_bits(found, together) for found in pool.map(lambda _: call(), range(8)))


def test_dtypes_and_stored_changes_may_be_mixed() -> None:
    base = usual("F16", 5000, 12)
    tuned = [*stored("BF16", 2, 5000, 13), *stored("F32", 2, 5000, 15)]
    tuned.append(Stored(usual("BF16", 5000, 17), "BF16", delta=True))
    assert_products(change_products(base, "F16", tuned)[0], differences(base, tuned))
    alone = [tuned[-1], Stored(usual("F32", 5000, 18), "F32", delta=True)]
    assert_products(change_products(None, "", alone)[0], differences(base, alone))


def test_one_that_did_not_move_is_zero_and_copies_are_equal() -> None:
    base = usual("BF16", 3000, 19)
    other = usual("BF16", 3000, 20)
    tuned = [Stored(x, "BF16") for x in (base, other, other.copy())]
    products, _ = change_products(base, "BF16", tuned)
    assert not products[0, 0].any()
    assert products[0, 1, 1] == products[0, 1, 2] == products[0, 2, 2] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_counts_as_zero(value: float) -> None:
    base, tuned = usual("BF16", ROW + 600, 21), stored("BF16", 3, ROW + 600, 22)
    without = [Stored(one.entries.copy(), one.dtype) for one in tuned]
    places = [0, 700, ROW + 5, ROW + 599]
    tuned[1].entries[places] = value
    without[1].entries[places] = base[places]
    products, nonfinite = change_products(base, "BF16", tuned)
    assert nonfinite.tolist() == [0, 4, 0]
    assert np.array_equal(products, change_products(base, "BF16", without)[0])
    base[3] = value
    assert change_products(base, "BF16", tuned)[1].tolist() == [1, 5, 1]


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-10, 1e10, 1e37])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    base = np.zeros(1000, np.float32)
    tuned = [Stored((usual("F32", 1000, 23) * scale).astype(np.float32), "F32") for _ in range(2)]
    assert_products(change_products(base, "F32", tuned)[0], differences(base, tuned), 1e-13)


def test_nothing_past_the_end_and_no_alignment_is_needed() -> None:
    for size in (1, 100, TILE + 3):
        values = usual("F32", size, 25)
        text = b"x" + values.tobytes() + np.full(600, np.nan, np.float32).tobytes()
        lent = np.frombuffer(text, np.float32, size, offset=1)
        base = np.zeros(size, np.float32)
        found = change_products(base, "F32", [Stored(lent, "F32")])
        assert same_bits(
            (found[0], found[0]), (change_products(base, "F32", [Stored(values, "F32")])[0],) * 2
        )


def test_what_does_not_fit_is_refused() -> None:
    x = np.zeros(4, np.float32)
    for base, tuned in (
        (x, [Stored(x[:3], "F32")]),
        (x, [Stored(x, "F16")]),
        (x, [Stored(x.astype(np.float64), "F64")]),
        (None, [Stored(x, "F32")]),
        (x, [Stored(x[::2], "F32")]),
    ):
        with pytest.raises(BadCall):
            change_products(base, "F32", tuned)
