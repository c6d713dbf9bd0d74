"""What the compiled loop adds up of a mix is what plain float64 gives, on any processor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ftdiff.kernels import Arithmetic, Mixed, Mixture, Target, Traced
from ftdiff.tensors import DTYPES, Array

STORED = pytest.mark.parametrize("stored", ["BF16", "F16", "F32"])


def drawn(stored: str, size: int, seed: int = 0) -> tuple[Array, list[Array]]:
    draw = np.random.default_rng(seed)
    W = draw.standard_normal(size) * 0.05
    sides = [
        (W + draw.standard_normal(size) * rel * 0.05).astype(DTYPES[stored])
        for rel in (0, 5e-3, 5e-3)
    ]
    A, B = (side.astype(np.float32) for side in sides[1:])
    return (np.float32(0.6) * A + np.float32(0.4) * B).astype(DTYPES[stored]), sides


def weighted_sum(given: Arithmetic) -> Traced:
    _, A, B = given.sides
    return given.number(0.6) * A + given.number(0.4) * B


def low_products(given: Arithmetic) -> Traced:
    _, A, B = given.sides
    first = given.low(given.low(given.number(0.6)) * A)
    return given.low(first + given.low(given.low(given.number(0.4)) * B))


def mixed(
    M: Array,
    sides: list[Array],
    stored: str,
    way: Callable[[Arithmetic], Traced] = weighted_sum,
    cut: int = 1 << 20,
    **options: object,
) -> Mixed:
    mixture = Mixture([stored] * 4, way, [0.0, 0.6, 0.4], (1, 2), **options)  # type: ignore[arg-type]
    for at in range(0, len(M), cut):
        part = slice(at, at + cut)
        assert mixture.add(M[part], [side[part] for side in sides])
    return mixture.done()


@STORED
def test_the_sums_are_those_of_float64(stored: str) -> None:
    M, sides = drawn(stored, 5003)
    found = mixed(M, sides, stored)
    y, W, A, B = (one.astype(np.float64) for one in (M, *sides))
    info = np.finfo(DTYPES[stored]) if stored != "BF16" else None
    eps = 2.0**-7 if info is None else float(info.eps)
    least = -126 if info is None else int(info.minexp)
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(y), 1e-300))), least)
    coarse = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(W), 1e-300))) - 22)
    ulp = np.maximum(2.0**exponent * eps, coarse)
    rows = np.array([W, A - W, B - W, y - W]) / ulp
    assert np.allclose(found.gram, rows @ rows.T, rtol=1e-6)
    assert np.allclose(found.plain, [A @ A, B @ B, (A - B) @ (A - B)], rtol=1e-6)
    assert found.moved == int(((A != W) | (B != W) | (y != W)).sum())
    assert found.equal == found.moved == found.right
    assert found.low < 0.4 < found.high and found.high - found.low < 0.01


def test_an_arithmetic_of_few_bits_rounds_as_tools_do() -> None:
    M, sides = drawn("BF16", 4096)
    low, wide = DTYPES["BF16"], np.float32
    a, b = (wide(np.float32(w).astype(low)) for w in (0.6, 0.4))
    A, B = (side.astype(wide) for side in sides[1:])
    made = ((a * A).astype(low).astype(wide) + (b * B).astype(low).astype(wide)).astype(low)
    found = mixed(made, sides, "BF16", low_products, judged=False)
    assert found.equal == found.moved and found.right == 0
    assert mixed(M, sides, "BF16", low_products).equal < found.moved


@STORED
def test_the_line_is_as_narrow_as_every_entry_alone_would_have_it(stored: str) -> None:
    M, sides = drawn(stored, 999, seed=3)
    found = mixed(M, sides, stored)
    alone = [mixed(M[[i]], [side[[i]] for side in sides], stored) for i in range(len(M))]
    assert found.low == max(one.low for one in alone)
    assert found.high == min(one.high for one in alone)
    assert found.right == sum(one.right for one in alone)


def test_a_mix_of_others_is_not_right() -> None:
    M, sides = drawn("BF16", 4096)
    found = mixed(M, [sides[0], sides[2], sides[1]], "BF16")
    assert found.equal <= found.right < found.moved and found.low < 0.6 < found.high
    other = mixed(np.roll(M, 1), sides, "BF16")
    assert other.right < other.moved / 2 and other.low > other.high


def test_no_processor_changes_a_bit() -> None:
    M, sides = drawn("BF16", 4099)
    here = mixed(M, sides, "BF16")
    for target in (Target("haswell", True, True), Target("nehalem", False, False)):
        there = mixed(M, sides, "BF16", target=target)
        assert there.gram.tobytes() == here.gram.tobytes()
        assert there.plain.tobytes() == here.plain.tobytes()
        assert (there.low, there.high, there.equal) == (here.low, here.high, here.equal)
    assert not Mixture.knows(["F16"], Target("nehalem", False, False))


def test_what_is_not_finite_adds_nothing() -> None:
    M, sides = drawn("BF16", 64)
    mixture = Mixture(["BF16"] * 4, weighted_sum, [0.0, 0.6, 0.4], (1, 2))
    assert mixture.add(M, sides)
    before = mixture.done()
    for k in range(4):
        broken = [M.copy(), *(side.copy() for side in sides)]
        broken[k][7] = np.inf if k % 2 else np.nan
        assert not mixture.add(broken[0], broken[1:])
    assert mixture.done().gram.tobytes() == before.gram.tobytes()
    assert (mixture.done().low, mixture.done().moved) == (before.low, before.moved)


def test_few_sums_are_the_same_as_all() -> None:
    M, sides = drawn("BF16", 4099)
    all_, few = (mixed(M, sides, "BF16", all_=one) for one in (True, False))
    assert few.gram[1:, 1:].tobytes() == all_.gram[1:, 1:].tobytes()
    assert not few.gram[0].any() and not few.plain.any()
    assert (few.low, few.high, few.right) == (all_.low, all_.high, all_.right)


@pytest.mark.parametrize(
    ("value", "right"), [(0.997, 0), (0.999, 16), (1.003, 16), (1.005, 0), (-1.003, 0)]
)
def test_below_a_power_of_two_there_is_half_the_room(value: float, right: int) -> None:
    W, A, B = (np.full(16, one, np.float32) for one in (0.5, value, value))
    M = np.ones(16, np.float32).astype(DTYPES["BF16"])
    for sign in (1, -1):
        mixture = Mixture(["BF16", *["F32"] * 3], weighted_sum, [0.0, 0.6, 0.4], None)
        assert mixture.add(sign * M, [sign * one for one in (W, A, B)])
        assert (mixture.done().moved, mixture.done().right) == (16, right)
