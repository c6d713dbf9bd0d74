from __future__ import annotations

import numpy as np
import pytest

from ftdiff.reports.palette import HUE, STOPS
from ftdiff.reports.scale import STEPS, scale_of


def test_white_is_the_middle_of_the_range_and_no_zero() -> None:
    scale = scale_of([np.array([0.1, 0.2]), np.array([0.3, np.nan])], "relative_norm")
    assert [scale.colour(value) for value in (0.1, 0.2, 0.3)] == [STOPS[0], STOPS[3], STOPS[-1]]
    assert scale.words == "White is 0.2, the middle of the range, not zero."
    assert scale.ticks == ((0.0, "0.1"), (0.5, "0.2"), (1.0, "0.3"))
    assert len(scale.bar) == STEPS and scale.colour(float("nan")) == ""


def test_a_middle_that_is_zero_is_not_said_to_be_none() -> None:
    words = "White is 0, the middle of the range."
    assert scale_of([np.array([-1.0, 1.0])], "relative_norm").words == words
    assert scale_of([np.zeros(4)], "relative_norm").words == words


def test_a_lift_and_its_inverse_are_as_far_from_white() -> None:
    scale = scale_of([np.array([0.25, 1.0, 2.0])], "lift")
    assert scale.colour(1.0) == "#ffffff" and scale.words == "White is 1, in steps of equal ratio."
    assert scale.share(2.0) - 0.5 == pytest.approx(0.5 - scale.share(0.5))
    assert [text for _, text in scale.ticks] == ["0.25", "1", "2"]
    assert scale.share(0.25) == 0.0  # the furthest from white has the darkest colour
    assert scale.ticks[1][0] == pytest.approx(2 / 3)
    assert scale_of([np.array([0.0, 0.5, 2.0])], "lift").colour(0.0) == STOPS[0]


@pytest.mark.parametrize(
    ("metric", "values", "words"),
    [
        ("energy_share", [0.1, 0.5], "The darker, the larger."),
        ("cosine", [0.9, 0.99], "The darker, the larger."),
        ("cosine", [-0.5, 0.5], "White is 0."),
    ],
)
def test_colours_are_those_of_the_metric(metric: str, values: list[float], words: str) -> None:
    assert scale_of([np.array(values)], metric).words == words


def test_one_hue_is_for_any_metric() -> None:
    scale = scale_of([np.array([0.1, 0.2])], "relative_norm", one_hue=True)
    assert (scale.colour(0.1), scale.colour(0.2)) == (HUE[0], HUE[-1])


def test_what_lies_beyond_the_colours_is_marked_at_their_end() -> None:
    values = np.array([*np.linspace(1, 2, 30), 90.0])
    scale = scale_of([values], "relative_norm")
    assert scale.ticks[-1] == (1.0, "≥ 2") and scale.ticks[0] == (0.0, "1")
    assert scale.colour(90.0) == STOPS[-1]
