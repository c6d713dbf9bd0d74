"""How numbers are written everywhere: four digits, a dash for what is missing.

The page's script writes them alike (`reports/page/numbers.js`), and a test holds the two together.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context
from typing import Any

#: What stands where there is no number.
MISSING = "–"
# Beyond these a number is written with an exponent.
_LEAST, _MOST = 1e-4, 1e6


def number(value: float | None, digits: int = 4) -> str:
    """Write a number: so many significant digits, an exponent where it is very small or large.

    A whole number below 1e15 keeps its digits, with commas. The minus is a true one, but for an
    exponent's; there is no negative zero.

    >>> number(0.20694), number(1.5332e-06), number(1234567), number(-0.0), number(None)
    ('0.2069', '1.533e-6', '1,234,567', '0', '–')
    >>> number(0.20694, 2), number(14873.29), number(-0.00342), number(float("inf"))
    ('0.21', '14,870', '−0.00342', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 0:
        return f"−{number(-value, digits)}"
    if isinstance(value, int) or (value == int(value) and abs(value) < _MOST):
        return f"{int(value):,}"
    context = Context(prec=digits, rounding=ROUND_HALF_UP)  # as a browser rounds
    rounded = context.create_decimal_from_float(float(value)).normalize()
    if _LEAST <= abs(value) < _MOST:
        return f"{rounded:,f}"
    exponent = rounded.adjusted()
    return f"{rounded.scaleb(-exponent).normalize():f}e{exponent}"


def percent(share: float | None, digits: int = 3) -> str:
    """Write a share of a whole as a percentage; what is not all of it is never called 100%.

    >>> percent(0.9671), percent(1.0), percent(0.99999), percent(0.0), percent(0.00001)
    ('96.7%', '100%', '> 99.9%', '0%', '0.001%')
    """
    if share is None or not math.isfinite(share):
        return MISSING
    if 0.9995 <= share < 1:
        return "> 99.9%"
    return f"{number(100 * share, digits)}%"


def times(ratio: float | None) -> str:
    """Write how many times larger something is: two digits below ten, whole ones above.

    >>> times(43.2), times(1.437), times(0.25), times(121953.4)
    ('43 ×', '1.4 ×', '0.25 ×', '121,953 ×')
    """
    if ratio is None or not math.isfinite(ratio):
        return f"{MISSING} ×"
    return f"{number(round(ratio)) if ratio >= 10 else number(ratio, 2)} ×"


def written(value: Any) -> str:
    """Write a cell of a table: a number, a text as it is, yes or no, a dash for what is missing.

    >>> written(0.5), written("a"), written(True), written(None)
    ('0.5', 'a', 'yes', '–')
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, (int, float)) else str(value)


def signed(value: float | str, form: str = "") -> str:
    """Format a number, or take a text that holds some, with true minus signs before digits.

    >>> signed(-0.25, ".3f"), signed("-8"), signed("a-b")
    ('−0.250', '−8', 'a-b')
    """
    text = format(value, form)
    return "".join(
        "−" if one == "-" and text[i + 1 : i + 2].isdigit() else one for i, one in enumerate(text)
    )
