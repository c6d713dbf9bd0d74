"""The numbers between which the colours of a map run: the data's ends, but for outlying cells."""

from __future__ import annotations

import numpy as np

from ftdiff.tensors import Array

#: One cell in so many may lie beyond the colours, and one at least where there are so many cells.
EVERY, FEWEST = 20, 8
#: Cells lie beyond if the others span this share of the range at most.
REST = 1 / 3


def colour_range(values: Array) -> tuple[float, float]:
    """Return the ends of the colours: of all values, or of the rest where few lie far away.

    One outlying cell would give all others one colour. At most a twentieth of the cells is left
    out, where that makes the range of the rest at most a third of what it was; where no so small
    number does, or the rest do not differ at all, the ends are those of the data.

    Parameters
    ----------
    values
        float64, any shape; what is not finite is skipped. At least one is finite.

    Examples
    --------
    >>> colour_range(np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.2, 1.0, 9.0]))
    (0.9, 1.2)
    >>> colour_range(np.array([1.0, 1.1, 5.0, 9.0]))
    (1.0, 9.0)
    """
    ordered = np.sort(values[np.isfinite(values)], axis=None)
    low, high = float(ordered[0]), float(ordered[-1])
    if len(ordered) < FEWEST:
        return low, high
    for left_out in range(1, max(1, len(ordered) // EVERY) + 1):
        kept = len(ordered) - left_out
        spans = ordered[kept - 1 :] - ordered[: left_out + 1]
        start = int(np.argmin(spans))
        first, last = float(ordered[start]), float(ordered[start + kept - 1])
        same = last - first <= 1e-9 * max(abs(first), abs(last))
        if spans[start] <= REST * (high - low) and not same:
            low, high = first, last
    return low, high


def few(count: int, cells: int) -> bool:
    """Say whether so many of these cells are few enough to be written out one by one."""
    return 0 < count <= max(1, cells // EVERY)
