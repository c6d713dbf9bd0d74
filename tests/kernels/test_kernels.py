"""The kernels against NumPy and exact arithmetic, and against themselves on other processors."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftdiff.errors import BadCall
from ftdiff.kernels import BLOCK, LEAST_EXPONENT, Target, gram, host, jit, product, sums
from ftdiff.tensors import DTYPES, Array

STORED = {
    **DTYPES,
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}
INTEGERS = {code for code, dtype in STORED.items() if dtype.kind in "iu"}
SIZES = (0, 1, 15, 16, 17, 255, 256, 257, 4095, 4096, 4097, 65535, 65536, 65537, 200003)
#: This processor without its instructions for float16 and fused sums, and older ones.
TARGETS = [Target("", half=False, fused=False)]
if platform.machine().lower() in ("x86_64", "amd64"):
    TARGETS.append(Target("x86-64", half=False, fused=False))
    if host().half and host().fused:
        TARGETS.append(Target("haswell", half=True, fused=True))
NAMES = ("base_sq", "tuned_sq", "delta_sq", "inner", "base_abs", "delta_abs", "power_sq")


def usual(code: str, size: int, seed: int) -> Array:
    """Entries as a checkpoint has them; integers over all of their range."""
    rng = np.random.default_rng(seed)
    if code in INTEGERS:
        return rng.integers(0, 256, size * STORED[code].itemsize, np.uint8).view(STORED[code])
    if code == "BOOL":
        return rng.integers(0, 2, size).astype(np.bool_)
    scale = 1.0 if code.startswith("F8") else 0.02
    values = rng.standard_normal(size) * scale
    return (np.abs(values) + 0.1 if code == "F8_E8M0" else values).astype(STORED[code])


def any_bits(code: str, size: int, seed: int) -> Array:
    """Any bits: numbers of all magnitudes, subnormals, infinities and NaN."""
    if code == "BOOL":
        return usual(code, size, seed)
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size * STORED[code].itemsize, np.uint8).view(STORED[code])


def reference(base: Array, tuned: Array, least: int) -> tuple[dict[str, float], float, list[int]]:
    """The sums, the maximum and the counts in float64, by NumPy."""
    with np.errstate(all="ignore"):
        a, b = base.astype(np.float64), tuned.astype(np.float64)
        d = b - a
        if base.dtype.kind in "iu" and tuned.dtype.kind in "iu":
            exact = [int(y) - int(x) for x, y in zip(base.tolist(), tuned.tolist(), strict=True)]
            d = np.array([float(x) for x in exact])
            unequal = sum(x != 0 for x in exact)
        else:
            unequal = int(((a != b) & ~(np.isnan(a) & np.isnan(b))).sum())
        lost = [int((~np.isfinite(x)).sum()) for x in (a, b)]
        kept = np.isfinite(a) & np.isfinite(b)
        a, b, d = a[kept], b[kept], d[kept]
        power = np.maximum(np.ldexp(1.0, np.frexp(b)[1] - 1) * (b != 0), 2.0**least)
        terms = (a * a, b * b, d * d, a * d, np.abs(a), np.abs(d), power * power)
        totals = {name: float(x.sum()) for name, x in zip(NAMES, terms, strict=True)}
        flips = int(((np.sign(a) * np.sign(b)) < 0).sum())
    return totals, float(np.abs(d).max(initial=0.0)), [unequal, flips, *lost]


def assert_measured(
    result: tuple[Array, Array], base: Array, tuned: Array, least: int, within: float = 1e-7
) -> None:
    floats, counts = result
    want, top, whole = reference(base, tuned, least)
    with np.errstate(all="ignore"):
        totals = dict(zip(NAMES, floats[:, :7].sum(axis=0).tolist(), strict=True))
        size = np.sqrt(want["base_sq"]) * np.sqrt(want["delta_sq"])
    assert counts.sum(axis=0).tolist() == whole
    assert floats[:, 7].max(initial=0.0) == pytest.approx(top, rel=1e-7, abs=0.0)
    for name in NAMES:
        if name == "inner":
            if np.isfinite(want[name]) and np.isfinite(size):
                assert abs(totals[name] - want[name]) <= within * size
        else:
            assert totals[name] == pytest.approx(want[name], rel=within, abs=0.0), name


def same_bits(x: tuple[Array, Array], y: tuple[Array, Array]) -> bool:
    return all(
        np.array_equal(i.view(np.int64), j.view(np.int64)) for i, j in zip(x, y, strict=True)
    )


PAIRS = sorted(
    {(code, code) for code in STORED}
    | {(code, other) for code in STORED for other in ("F32", "F64")}
    | {("F32", code) for code in STORED}
    | {("F16", "BF16"), ("BF16", "F16"), ("I64", "U64"), ("U64", "I64"), ("I8", "I64")}
)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_sum_of_every_dtype_is_numpys_to_seven_digits(first: str, second: str) -> None:
    for make in (usual, any_bits):
        base, tuned = make(first, 1000, 1), make(second, 1000, 2)
        result = sums(base, tuned, first, second)
        assert_measured(result, base, tuned, LEAST_EXPONENT[second])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("code", ["BF16", "F16", "F32", "F64", "F8_E4M3"])
def test_no_size_loses_or_invents_an_entry(code: str, size: int) -> None:
    base, tuned = usual(code, size, 3), usual(code, size, 4)
    result = sums(base, tuned, code, code)
    assert len(result[0]) == len(result[1]) == -(-size // BLOCK)
    assert_measured(result, base, tuned, LEAST_EXPONENT[code])


@pytest.mark.parametrize(
    "code", ["F16", "F8_E5M2", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "BF16"]
)
@pytest.mark.parametrize("target", [host(), *TARGETS])
def test_every_bit_pattern_is_the_number_that_ml_dtypes_says(code: str, target: Target) -> None:
    kind = np.uint8 if STORED[code].itemsize == 1 else np.uint16
    every = np.arange(np.iinfo(kind).max + 1, dtype=kind).view(STORED[code])
    values = every.astype(np.float32)
    lost = int((~np.isfinite(values)).sum())
    _, counts = sums(every, values, code, "F32", target=target)
    assert counts.sum(axis=0).tolist() == [0, 0, lost, lost]
    finite = np.isfinite(values)
    many = np.repeat(every[finite], 16 if kind is np.uint8 else 1)
    _, counts = sums(many, many.astype(np.float32), code, "F32", target=target)
    assert counts.sum(axis=0).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("code", sorted(STORED))
def test_other_processors_get_the_same_bits(code: str, target: Target) -> None:
    for make in (usual, any_bits):
        base, tuned = make(code, 3000, 5), make(code, 3000, 6)
        here = sums(base, tuned, code, code)
        assert same_bits(here, sums(base, tuned, code, code, target=target))


@pytest.mark.parametrize("code", ["BF16", "F32"])
def test_blocks_are_summed_alone(code: str) -> None:
    size = 3 * BLOCK + 1234
    base, tuned = usual(code, size, 7), usual(code, size, 8)
    base[BLOCK + 5] = np.nan
    together = sums(base, tuned, code, code)
    for k in range(4):
        cut = slice(k * BLOCK, (k + 1) * BLOCK)
        alone = sums(base[cut], tuned[cut], code, code)
        assert same_bits(alone, (together[0][k : k + 1], together[1][k : k + 1]))


SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-25, 1e30, 1e-40, -3e38, 65504.0, np.nan, np.inf, -np.inf)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["BF16", "F16", "F32", "F64", "F8_E5M2"]),
    st.lists(st.tuples(st.sampled_from(SPECIAL), st.sampled_from(SPECIAL)), max_size=40),
    st.integers(1, 30),
    st.integers(-149, 4),
)
def test_special_values_are_measured_anywhere(
    code: str, pairs: list[tuple[float, float]], times: int, least: int
) -> None:
    with np.errstate(all="ignore"):
        base, tuned = (
            np.array([pair[k] for pair in pairs] * times, np.float64).astype(STORED[code])
            for k in range(2)
        )
    result = sums(base, tuned, code, code, least_exponent=least)
    assert_measured(result, base, tuned, least)


@pytest.mark.parametrize("scale", [1e-25, 1e-20, 1e-13, 1e-40, 1e18, 1e30])
@pytest.mark.parametrize("code", ["BF16", "F32"])
def test_sums_neither_vanish_nor_overflow(code: str, scale: float) -> None:
    rng = np.random.default_rng(9)
    base, tuned = ((rng.standard_normal(5000) * scale).astype(STORED[code]) for _ in range(2))
    assert_measured(sums(base, tuned, code, code), base, tuned, -126)


def test_a_vanishing_change_of_ordinary_weights_is_measured() -> None:
    rng = np.random.default_rng(10)
    base = rng.standard_normal(5000).astype(np.float32)
    base[::7] = 1e-30
    tuned = base.copy()
    tuned[::7] *= 1.5
    assert_measured(sums(base, tuned, "F32", "F32"), base, tuned, -126)


@settings(deadline=None, max_examples=60)
@given(st.floats(2**-20, 2**20, width=32), st.floats(2**-20, 2**20, width=32))
def test_rounding_does_not_add_up_where_all_entries_are_the_same(x: float, y: float) -> None:
    base, tuned = np.full(4096, x, np.float32), np.full(4096, y, np.float32)
    assert_measured(sums(base, tuned, "F32", "F32"), base, tuned, -126, within=2.5e-7)


def test_equal_squares_are_summed_to_seven_digits() -> None:
    for x in np.random.default_rng(18).uniform(1, 4, 2000).astype(np.float32):
        floats, _ = sums(np.full(4096, x), None, "F32")
        assert floats[0, 0] == pytest.approx(4096 * float(x) ** 2, rel=1e-7)


def test_numbers_are_compared_not_bits() -> None:
    nan = np.array([0x7FC00001, 0xFFC00002], np.uint32).view(np.float32)
    base = np.concatenate([np.float32([0.0, -0.0, np.inf, np.inf, 1.0, np.nan]), nan])
    tuned = np.concatenate([np.float32([-0.0, 0.0, np.inf, -np.inf, np.nan, 1.0]), nan[::-1]])
    floats, counts = sums(base, tuned, "F32", "F32")
    assert counts[0].tolist() == [3, 0, 5, 5]
    assert floats[0, :6].tolist() == [0.0] * 6


def test_a_sign_flip_needs_two_signs() -> None:
    tiny = 1e-45
    base = np.float32([1, -1, 0, -0.0, 1, -1, tiny, -tiny, 2, -2, tiny])
    tuned = np.float32([-1, 1, -1, 1, 0, -0.0, -tiny, tiny, 3, -3, -3e38])
    many = [np.tile(x, 256) for x in (base, tuned)]
    assert sums(*many, "F32", "F32")[1][0].tolist() == [11 * 256, 5 * 256, 0, 0]


@pytest.mark.parametrize("code", ["I64", "U64", "I32", "U32"])
def test_integers_are_compared_and_subtracted_as_integers(code: str) -> None:
    info = np.iinfo(STORED[code])
    values = [info.min, info.min + 1, info.max, info.max - 1, info.max // 2, info.max // 2 + 1]
    base = np.array(values * 50, STORED[code])
    tuned = np.roll(base, 1)
    result = sums(base, tuned, code, code)
    assert_measured(result, base, tuned, 0)
    close = sums(np.array([info.max], base.dtype), np.array([info.max - 1], base.dtype), code, code)
    assert close[1][0, 0] == 1
    assert close[0][0, 7] == 1.0


def test_a_tensor_against_itself_is_zero() -> None:
    for code in STORED:
        same = any_bits(code, 70000, 11)
        floats, counts = sums(same, same, code, code)
        assert not floats[:, [2, 3, 5, 7]].any()
        assert not counts[:, :2].any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3000), st.sampled_from(["BF16", "F32", "F16"]), st.integers(0, 99))
def test_changes_given_are_measured_as_the_tuned_values_they_make(
    size: int, code: str, seed: int
) -> None:
    base = usual(code, size, seed)
    d = (np.random.default_rng(seed + 1).standard_normal(size) * 1e-3).astype(np.float32)
    floats, counts = sums(base, d, code, "F32", delta=True)
    tuned = base.astype(np.float32) + d
    want, _, whole = reference(base, tuned, -126)
    D = d.astype(np.float64)
    want |= {
        "delta_sq": (D * D).sum(), "inner": (base.astype(np.float64) * D).sum(),
        "delta_abs": np.abs(D).sum(),
    }  # fmt: skip
    whole[0] = np.count_nonzero(d)
    assert counts.sum(axis=0).tolist() == whole
    assert floats[:, 7].max(initial=0.0) == np.abs(D).max(initial=0.0)
    for k, name in enumerate(NAMES):
        slack = np.sqrt(want["base_sq"] * want["delta_sq"]) if name == "inner" else want[name]
        assert abs(floats[:, k].sum() - want[name]) <= 1e-7 * slack, name


def test_changes_that_rounding_swallows_are_still_changes() -> None:
    base, d = np.ones(600, np.float32), np.full(600, 1e-12, np.float32)
    floats, counts = sums(base, d, "F32", "F32", delta=True)
    assert counts[0, 0] == 600
    assert floats[0, 5] == pytest.approx(600e-12, rel=1e-6)


@pytest.mark.parametrize("make", [usual, any_bits])
@pytest.mark.parametrize("code", ["BF16", "F16", "F32", "F64", "I64"])
def test_one_operand_alone_has_the_sums_it_has_in_a_pair(make, code: str) -> None:
    base = make(code, 70001, 12)
    with np.errstate(all="ignore"):
        finite = np.isfinite(base.astype(np.float64))
        largest = np.abs(base[finite].astype(np.float64)).max()
    base_alone, tuned_alone = sums(base, None, code), sums(None, base, "", code)
    pair = sums(base, base, code, code)
    assert same_bits((base_alone[0][:, [0, 4]],) * 2, (pair[0][:, [0, 4]],) * 2)
    assert same_bits((tuned_alone[0][:, [1, 6]],) * 2, (pair[0][:, [1, 6]],) * 2)
    assert base_alone[1][:, 2].sum() == tuned_alone[1][:, 3].sum() == (~finite).sum()
    change = sums(None, base, "", code, delta=True)
    assert same_bits((change[0][:, [2, 5]],) * 2, (pair[0][:, [0, 4]],) * 2)
    assert change[0][:, 7].max() == pytest.approx(largest, rel=1e-12)


def test_nothing_past_the_end_and_no_alignment_is_needed() -> None:
    for size in (1, 100, 300, 70000):
        values = usual("F32", size, 13)
        stored = b"x" + values.tobytes() + np.full(600, np.nan, np.float32).tobytes()
        lent = np.frombuffer(stored, np.float32, size, offset=1)
        assert not lent.flags.writeable
        assert same_bits(sums(lent, lent, "F32", "F32"), sums(values, values, "F32", "F32"))


def test_threads_compile_once_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    compiled = jit._compiled
    monkeypatch.setattr(jit, "_compiled", lambda *given: made.append(given) or compiled(*given))
    base, d = usual("U16", 70000, 14), usual("F8_E5M2", 70000, 15)
    with ThreadPoolExecutor(8) as pool:
        call = partial(sums, base, d, "U16", "F8_E5M2", delta=True)
        results = list(pool.map(lambda _: call(), range(32)))
    assert len(made) == 1
    assert all(same_bits(results[0], other) for other in results)


def test_operands_that_do_not_fit_are_refused() -> None:
    x = np.zeros(4, np.float32)
    for call in (
        lambda: sums(x, x[:3], "F32", "F32"),
        lambda: sums(x, x, "F32", "F16"),
        lambda: sums(x, x, "F32", "F4"),
        lambda: sums(x[::2], x[::2], "F32", "F32"),
        lambda: sums(x.reshape(2, 2), x.reshape(2, 2), "F32", "F32"),
        lambda: sums(None, None),
        lambda: product(x.reshape(2, 2), x.reshape(1, 4)),
        lambda: product(x.reshape(2, 2), x.reshape(2, 2), np.zeros((2, 3), np.float32)),
        lambda: product(x.reshape(2, 2), np.zeros((2, 2))),
        lambda: product(x.reshape(2, 2), x.reshape(2, 2)[:, ::-1]),
        lambda: gram(x.reshape(2, 2), x.reshape(1, 4)),
        lambda: gram(x.reshape(2, 2), np.zeros((2, 2))),
        lambda: gram(np.zeros((2, 2), np.float16)),
    ):
        with pytest.raises(BadCall):
            call()


def rounded(exact: Fraction) -> np.float32:
    """The nearest float32, ties to even."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(s) * np.float32(np.inf)) for s in (-1, 1)] + [near]
    return min(around, key=lambda x: (abs(Fraction(float(x)) - exact), x.view(np.uint32) & 1))


def wild(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Entries whose sums are rounded in every way, subnormal ones among them."""
    return np.ldexp(
        rng.integers(-(2**24), 2**24, shape).astype(np.float32), rng.integers(-90, -30, shape)
    ).astype(np.float32)


@pytest.mark.parametrize("target", [host(), *TARGETS], ids=str)
def test_a_product_is_a_chain_of_sums_each_rounded_once(target: Target) -> None:
    rng = np.random.default_rng(16)
    B, A = wild(rng, (9, 7)), wild(rng, (7, 35))
    B[:, 1], A[1] = B[:, 0], -np.nextafter(A[0], np.float32(0))  # cancels all but the last bits
    out = product(B, A, target=target)
    for i in range(9):
        for j in range(35):
            total = np.float32(0)
            for k in range(7):
                exact = Fraction(float(B[i, k])) * Fraction(float(A[k, j])) + Fraction(float(total))
                total = rounded(exact)
            assert out[i, j] == total, (i, j)


@pytest.mark.parametrize("target", [host(), *TARGETS], ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0**-100, 2.0**90])
def test_a_sum_beside_a_tie_is_rounded_once(target: Target, scale: float) -> None:
    half = (2.0**-12 * (1 + 2.0**-18), 2.0**-12 * (1 - 2.0**-18))  # 2^-24 but for 2^-60
    for sign in (-1.0, 1.0):
        A = np.float32([sign * (1 + k * 2.0**-23) for k in range(40)])
        A = np.stack([A, np.full(40, half[0], np.float32)]) * np.float32(scale)
        out = product(np.float32([[1, half[1]], [1, -half[1]]]), A, target=target)
        for row, side in enumerate((1, -1)):
            term = side * Fraction(half[1]) * Fraction(float(A[1, 0]))
            want = [rounded(Fraction(float(z)) + term) for z in A[0]]
            assert out[row].tolist() == [float(x) for x in want]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 20), st.integers(0, 9), st.integers(0, 70), st.integers(0, 99))
def test_a_product_does_not_depend_on_how_it_is_cut(m: int, r: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    B, A = wild(rng, (m, r)), wild(rng, (r, n))
    whole = product(B, A, scale=0.3)
    row, column = seed % (m + 1), (7 * seed) % (n + 1)
    out = np.full((m, n), np.nan, np.float32)
    for rows in (slice(row), slice(row, None)):
        for columns in (slice(column), slice(column, None)):
            product(B[rows], A[:, columns], out[rows, columns], scale=0.3)
    assert np.array_equal(whole.view(np.uint32), out.view(np.uint32))
    for target in TARGETS:
        assert np.array_equal(whole, product(B, A, scale=0.3, target=target))


@pytest.mark.parametrize(("m", "r", "n"), [(64, 16, 4096), (8, 1, 32), (13, 64, 1000), (1, 300, 5)])
def test_a_product_is_numpys(m: int, r: int, n: int) -> None:
    rng = np.random.default_rng(17)
    B, A = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, r), (r, n)))
    size = np.abs(B).astype(np.float64) @ np.abs(A).astype(np.float64)
    exact = B.astype(np.float64) @ A.astype(np.float64)
    assert np.all(np.abs(product(B, A, scale=2.0) - 2 * exact) <= 2 * size * r * 2.0**-24)


def test_a_product_writes_nothing_but_its_place() -> None:
    out = np.full((12, 50), 7.0, np.float32)
    product(np.ones((10, 2), np.float32), np.ones((2, 40), np.float32), out[1:11, 3:43])
    assert np.all(out[1:11, 3:43] == 2.0)
    out[1:11, 3:43] = 7.0
    assert np.all(out == 7.0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 40),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_gram_matrix_is_numpys_and_symmetric(r: int, s: int, n: int, dtype: type) -> None:
    rng = np.random.default_rng(r + 10 * s + 100 * n)
    X, Y = rng.standard_normal((r, n)).astype(dtype), rng.standard_normal((s, n)).astype(dtype)
    G, H = gram(X), gram(X, Y)
    assert np.array_equal(G, G.T)
    assert np.array_equal(G, gram(X, X))
    assert np.allclose(G, X.astype(np.float64) @ X.T.astype(np.float64), rtol=1e-13, atol=1e-13)
    assert np.allclose(H, X.astype(np.float64) @ Y.T.astype(np.float64), rtol=1e-13, atol=1e-13)
    assert np.array_equal(H.T, gram(Y, X))
    for target in TARGETS:
        assert np.array_equal(H, gram(X, Y, target=target))


@given(
    columns=st.sampled_from((1, 7, 255, 256, 300, 1025)),
    rows=st.integers(1, 9),
    missing=st.integers(0, 3),
    codes=st.sampled_from((("BF16", "F32"), ("F32", "F32"), ("F64", "F16"))),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_rows_summed_together_have_the_bits_of_each_alone(
    columns: int, rows: int, missing: int, codes: tuple[str, str], seed: int
) -> None:
    size = max(1, rows * columns - missing)
    base, tuned = (usual(code, size, seed + i) for i, code in enumerate(codes))
    together = sums(base, tuned, *codes, block=columns)
    for k in range(-(-size // columns)):
        run = slice(k * columns, (k + 1) * columns)
        alone = sums(base[run], tuned[run], *codes)
        assert np.array_equal(together[0][k], alone[0][0])
        assert np.array_equal(together[1][k], alone[1][0])


def test_a_block_holds_at_least_one_entry() -> None:
    with pytest.raises(BadCall, match="blocks of 0 entries"):
        sums(np.ones(3, np.float32), None, "F32", block=0)
