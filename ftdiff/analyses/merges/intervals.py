"""The coefficients for which every entry rounds to what is stored: none, or a short interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array


@dataclass(frozen=True)
class Interval:
    """Where a coefficient may lie.

    Attributes
    ----------
    low, high
        Its ends; no coefficient is right for all entries where `low` is above `high`.
    """

    low: float = float("-inf")
    high: float = float("inf")

    @property
    def empty(self) -> bool:
        """Whether there is no such coefficient."""
        return not self.low <= self.high

    def __and__(self, other: Interval) -> Interval:
        """Return where both hold."""
        return Interval(max(self.low, other.low), min(self.high, other.high))

    def mirrored(self) -> Interval:
        """Return where the rest to 1 lies."""
        return Interval(1 - self.high, 1 - self.low)


def along(start: Array, direction: Array, low: Array, high: Array, slack: Array) -> Interval:
    """Return for which t every entry of `start + t·direction` lies in its bounds.

    Where an entry that does not depend on t lies outside, there is none.

    Parameters
    ----------
    start, direction, low, high
        float64, of one length.
    slack
        How far beyond its bounds the arithmetic of float32 may carry an entry.

    >>> ends = np.array([0.5]), np.array([0.75])
    >>> along(np.array([0.0]), np.array([2.0]), *ends, np.array([0.0]))
    Interval(low=0.25, high=0.375)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        # of no direction: open inside its bounds, empty outside, and no number on one of them
        first = (low - slack - start) / direction
        last = (high + slack - start) / direction
    least = float(np.fmax.reduce(np.minimum(first, last), initial=-np.inf))
    return Interval(least, float(np.fmin.reduce(np.maximum(first, last), initial=np.inf)))
