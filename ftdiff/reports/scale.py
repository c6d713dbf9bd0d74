"""One scale for all maps of a page: the ends of the colours, what is between them, and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.colour_range import colour_range
from ftdiff.comparison.colour_rule import Rule, rule_of
from ftdiff.numbers import number
from ftdiff.reports.palette import HUE, STOPS, colour
from ftdiff.tensors import Array

#: Steps of a colour bar.
STEPS = 48


@dataclass(frozen=True)
class Scale:
    """From numbers to colours.

    Attributes
    ----------
    low, high
        The numbers at the ends of the colours; NaN where no cell has a value.
    under, over
        Whether values lie beyond them.
    rule
        What the colours between them stand for.
    """

    low: float
    high: float
    under: bool
    over: bool
    rule: Rule

    def colour(self, value: float) -> str:
        """Return the colour of a number; "" where there is none."""
        if not math.isfinite(value):
            return ""
        return colour(self.share(value), HUE if self.rule.sequential else STOPS)

    def share(self, value: float) -> float:
        """Return how far a number is along the colours, from 0 to 1; both sides have one slope."""
        at, first, last = (self._step(one) for one in (value, self.low, self.high))
        if self.rule.white is None:
            same = last - first <= 1e-9 * max(abs(first), abs(last))
            return 0.5 if same else min(max((at - first) / (last - first), 0.0), 1.0)
        middle = self._step(self.rule.white)
        reach = max(last - middle, middle - first) or 1.0
        return min(max(0.5 + (at - middle) / (2 * reach), 0.0), 1.0)

    @property
    def bar(self) -> tuple[str, ...]:
        """The colours of `STEPS` equal steps from the least to the most; none without a value."""
        if not math.isfinite(self.low):
            return ()
        return tuple(self.colour(self._along((i + 0.5) / STEPS)) for i in range(STEPS))

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """How far along the bar its numbers stand, and these numbers: the ends and the white."""
        if not math.isfinite(self.low):
            return ()
        middle, ends = 0.5, ("≤ " * self.under, "≥ " * self.over)
        value = self._along(0.5)
        if self.rule.white is not None:
            first, last, value = self._step(self.low), self._step(self.high), self.rule.white
            middle = (self._step(value) - first) / (last - first) if last > first else -1.0
        inside = ((middle, number(value, 3)),) if 0.12 <= middle <= 0.88 else ()
        return (
            (0.0, ends[0] + number(self.low, 3)),
            *inside,
            (1.0, ends[1] + number(self.high, 3)),
        )

    @property
    def words(self) -> str:
        """Say which number is white, or which colour is large."""
        if not math.isfinite(self.low):
            return "No cell has a value."
        if self.rule.sequential:
            return "The darker, the larger."
        if self.rule.white is not None:
            ratios = ", in steps of equal ratio" if self.rule.log else ""
            return f"White is {number(self.rule.white, 3)}{ratios}."
        middle = self._along(0.5)
        no_zero = ", not zero" if abs(middle) > 1e-3 * (self.high - self.low) else ""
        return f"White is {number(middle, 3)}, the middle of the range{no_zero}."

    def _step(self, value: float) -> float:
        if not self.rule.log:
            return value
        return math.log(value) if value > 0 else -math.inf

    def _along(self, share: float) -> float:
        first, last = self._step(self.low), self._step(self.high)
        at = first + share * (last - first)
        return math.exp(at) if self.rule.log else at


def scale_of(values: Sequence[Array], metric: str, one_hue: bool = False) -> Scale:
    """Choose one scale for several maps.

    Parameters
    ----------
    values
        The maps' numbers, float64; what is not finite is skipped.
    metric
        What they are.
    one_hue
        Whether the darker is the larger, whatever the metric.
    """
    every = np.concatenate([one.ravel() for one in values]) if values else np.empty(0)
    finite = every[np.isfinite(every)]
    chosen = Rule(sequential=True) if one_hue else rule_of(metric, finite)
    inside = finite[finite > 0] if chosen.log else finite
    if not len(inside):
        return Scale(math.nan, math.nan, False, False, chosen)
    low, high = colour_range(inside)
    return Scale(low, high, bool((finite < low).any()), bool((finite > high).any()), chosen)
