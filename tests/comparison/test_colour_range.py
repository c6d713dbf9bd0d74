"""Colours run over the data, or over the rest where few cells lie far away."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ftdiff.comparison.colour_range import EVERY, REST, colour_range

_CELLS = arrays(np.float64, st.integers(1, 80), elements=st.floats(-1e6, 1e6))


@given(_CELLS)
def test_few_cells_are_left_out_and_only_where_the_rest_gains(values: np.ndarray) -> None:
    low, high = colour_range(values)
    assert values.min() <= low <= high <= values.max()
    outside = int(((values < low) | (values > high)).sum())
    assert outside <= max(1, len(values) // EVERY)
    if outside:
        assert 0 < high - low <= REST * (values.max() - values.min())


def test_an_even_map_and_a_map_of_two_kinds_keep_their_ends() -> None:
    draw = np.random.default_rng(0)
    even, halves = draw.uniform(1, 2, 200), np.r_[draw.uniform(1, 2, 100), draw.uniform(9, 10, 100)]
    for values in (even, halves, np.r_[np.zeros(30), 1.0]):
        assert colour_range(values) == (values.min(), values.max())


def test_cells_far_on_both_sides_are_left_out() -> None:
    rest = np.linspace(1, 2, 60)
    assert colour_range(np.r_[rest, -40.0, 90.0]) == (1.0, 2.0)
