"""What is kept of a spectrum, so that a saved diff can draw it: few points, and the noise edge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ftdiff.tensors import Array

#: Points kept of one matrix, and how many of its largest singular values are all among them.
MOST, FIRST = 64, 32
# Digits kept of each: a line on a figure, not a number to compute with.
_DIGITS = 6
# Whole numbers beyond are no counts: floats do not tell them apart.
_LARGEST = 2**53


def curve(values: Array, edge: float, rank: int | None = None) -> dict[str, Any]:
    """Return a record of plain values that draws a spectrum.

    Parameters
    ----------
    values
        float64, all singular values that can differ from zero, largest first, finite.
    edge
        What noise would not exceed; NaN where there is no bulk of noise.
    rank
        The inner dimension of the factors, where there are factors.

    Returns
    -------
    dict
        `count`: how many singular values there are. `index`: which are kept, counted from 1: the
        first 32, then ever fewer to the last, 64 at most. `sigma`: these, to six digits. `edge`
        and `above`, the number of all singular values beyond it, or None. `rank`, or None.

    Examples
    --------
    >>> curve(np.array([3.0, 2.0]), float("nan"), rank=2)["sigma"]
    [3.0, 2.0]
    """
    index = kept(len(values))
    bulk = math.isfinite(edge)
    return {
        "count": len(values),
        "index": index,
        "sigma": [_short(values[i - 1]) for i in index],
        "edge": _short(edge) if bulk else None,
        "above": int((values > edge).sum()) if bulk else None,
        "rank": rank,
    }


def kept(count: int) -> list[int]:
    """Return which of so many singular values are kept, counted from 1.

    >>> kept(3), len(kept(4096)), kept(4096)[-3:]
    ([1, 2, 3], 64, [3001, 3506, 4096])
    """
    if count <= MOST:
        return list(range(1, count + 1))
    rest = np.geomspace(FIRST + 1, count, MOST - FIRST)
    return sorted({*range(1, FIRST + 1), *np.rint(rest).astype(int).tolist()})


def fault(found: Any) -> str:
    """Return what is wrong with a record that was read from a file; "" if nothing is."""
    if not isinstance(found, Mapping):
        return f"it is {type(found).__name__}"
    count, index, sigma = (found.get(name) for name in ("count", "index", "sigma"))
    if not (isinstance(index, list) and isinstance(sigma, list) and len(index) == len(sigma)):
        return "index and sigma are no lists of one length"
    if not 0 < len(index) <= MOST:
        return f"it has {len(index)} points, there are 1 to {MOST}"
    if type(count) is not int or not all(type(i) is int for i in index):
        return "count or index is no whole number"
    if not 0 < index[0] <= index[-1] <= count <= _LARGEST:
        return "index does not count from 1"
    if any(a >= b for a, b in pairwise(index)):
        return "index does not ascend"
    if not all(map(_number, sigma)) or any(a < b for a, b in pairwise(sigma)):
        return "sigma are no numbers that descend"
    edge, above, rank = (found.get(name) for name in ("edge", "above", "rank"))
    if (edge is None) != (above is None) or not (edge is None or _number(edge)):
        return "edge is no number"
    if not all(n is None or (type(n) is int and 0 <= n <= _LARGEST) for n in (above, rank)):
        return "above or rank is no count"
    return ""


def _number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value) and value >= 0
    except OverflowError:  # a whole number that no float holds
        return False


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
