from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.deltas.moments import COLUMNS, SUMS, Moments, exact

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e150, max_value=1e150)


@given(st.lists(finite, max_size=30))
def test_an_expansion_is_the_exact_total(values: list[float]) -> None:
    assert sum(map(Fraction, exact(values))) == sum(map(Fraction, values))


@given(st.lists(finite, min_size=1, max_size=30))
def test_the_first_term_is_the_rounded_total(values: list[float]) -> None:
    assert exact(values)[0] == math.fsum(values)


def test_an_infinite_total_is_infinite() -> None:
    assert exact([1.0, math.inf]) == (math.inf,)
    assert exact([1e308, 1e308]) == (math.inf,)


def _moments(values: list[float]) -> Moments:
    sums = {name: exact(values) for name in SUMS}
    return Moments(len(values), sums, {"delta_max": max(values)}, {"unequal": len(values)})


@given(st.lists(finite, min_size=2, max_size=40), st.integers(1, 39), st.randoms())
def test_moments_add_up_to_the_same_bits_for_any_split_and_order(
    values: list[float], cut: int, chance: random.Random
) -> None:
    whole = _moments(values)
    shuffled = chance.sample(values, len(values))
    parts = [shuffled[:cut], shuffled[cut:]]
    total = Moments()
    for part in parts:
        if part:
            total += _moments(part)
    assert total.row() == whole.row()
    assert total == whole


def test_nothing_is_the_neutral_element() -> None:
    some = _moments([1.0, 2.0])
    assert some + Moments() == some
    assert Moments() + some == some


def test_a_sum_that_one_part_lacks_is_missing_from_the_whole() -> None:
    part = _moments([1.0]).without("base_sq", "delta_max", "unequal")
    row = (part + _moments([2.0])).row()
    assert row["base_sq"] is row["delta_max"] is row["unequal"] is None
    assert row["delta_sq"] == 3.0


def test_units_in_the_last_place_are_scaled_exactly() -> None:
    floats = np.ones((2, 8))
    counts = np.zeros((2, 4), np.int64)
    row = Moments.of_blocks(10, floats, counts, ulp=2.0**-7).row()
    assert row["ulp_sq"] == 2 * 2.0**-14
    assert list(row) == list(COLUMNS)
