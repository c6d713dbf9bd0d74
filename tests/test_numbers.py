from __future__ import annotations

import pytest

from ftdiff.numbers import number, percent, times, written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (196, "196"),
        (338_000, "338,000"),
        (0.0899, "0.0899"),
        (0.20694, "0.2069"),
        (-0.20696, "−0.207"),
        (-2.5e-05, "−2.5e-5"),
        (-1234, "−1,234"),
        (9.99996, "10"),
        (1234.5, "1,235"),  # halves away from zero, as browsers do
        (14873.29, "14,870"),
        (0.000123456, "0.0001235"),
        (0.00001, "1e-5"),
        (2.5e-05, "2.5e-5"),
        (1.23456e9, "1.235e9"),
        (float("nan"), "–"),
        (float("-inf"), "–"),
        (None, "–"),
    ],
)
def test_a_number_has_four_digits_and_no_dust(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_share_is_whole_only_where_it_is() -> None:
    assert [percent(share) for share in (1.0, 0.99999, 0.9994, 0.5, 0.0)] == [
        *("100%", "> 99.9%", "99.9%", "50%", "0%")
    ]


def test_a_ratio_and_a_cell_are_written_for_people() -> None:
    assert [times(ratio) for ratio in (43.4, 1.26, None)] == ["43 ×", "1.3 ×", "– ×"]
    assert [written(cell) for cell in (None, False, 7, 0.25, "a|b")] == [
        "–",
        "no",
        "7",
        "0.25",
        "a|b",
    ]
