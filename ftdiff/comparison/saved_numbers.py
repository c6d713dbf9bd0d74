"""What counts as a number in a saved result: finite, and where it is whole, not beyond a float."""

from __future__ import annotations

import math
from typing import Any

#: No count, no size and no scale of anything is as large.
LARGEST = 2.0**62


def is_number(value: Any) -> bool:
    """Say whether it is a number.

    >>> is_number(0.5), is_number(True), is_number(10**400), is_number(float("nan"))
    (True, False, False, False)
    """
    if type(value) is int:
        return abs(value) < LARGEST
    return type(value) is float and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Say whether it is a whole number that is not negative.

    >>> is_count(3), is_count(3.0), is_count(-1)
    (True, False, False)
    """
    return type(value) is int and 0 <= value < LARGEST
