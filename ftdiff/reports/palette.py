"""The colours of a heatmap on a page and in a terminal: blue, white, orange, or one hue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from ftdiff.comparison.colour_rule import DIVERGING, SEQUENTIAL

#: The stops of the drawn heatmap.
STOPS, HUE = DIVERGING, SEQUENTIAL


def rgb(share: float, stops: Sequence[str] = STOPS) -> tuple[int, int, int]:
    """Return the colour at a share of the way from the first stop to the last.

    >>> rgb(0.0), rgb(0.5), rgb(1.0)
    ((31, 95, 158), (255, 255, 255), (184, 82, 10))
    """
    colours = _parsed(tuple(stops))
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    i = min(int(place), len(stops) - 2)
    red, green, blue = (
        math.floor(a + (b - a) * (place - i) + 0.5)
        for a, b in zip(colours[i], colours[i + 1], strict=True)
    )
    return red, green, blue


@cache
def _parsed(stops: tuple[str, ...]) -> list[tuple[int, ...]]:
    return [tuple(int(stop[i : i + 2], 16) for i in (1, 3, 5)) for stop in stops]


def colour(share: float, stops: Sequence[str] = STOPS) -> str:
    """Return the same as `#rrggbb`.

    >>> colour(0.5), colour(1.0, HUE)
    ('#ffffff', '#0b3260')
    """
    return "#{:02x}{:02x}{:02x}".format(*rgb(share, stops))


def share_of(value: float, low: float, high: float) -> float:
    """Return how far a value is from `low` to `high`; the middle where these are one number.

    What lies beyond has the share of the end.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return 0.5
    return min(max((value - low) / (high - low), 0.0), 1.0)
