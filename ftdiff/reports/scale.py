"""One scale for all maps of a page: the ends of the colours, what is between them, and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.colour_range import colour_range
from ftdiff.comparison.shading import Shading, shading
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
    shading
        What the colours between them stand for.
    """

    low: float
    high: float
    under: bool
    over: bool
    shading: Shading

    def colour(self, value: float) -> str:
        """Return the colour of a number; "" where there is none."""
        if not math.isfinite(value):
            return ""
        stops = HUE if self.shading.kind == "sequential" else STOPS
        return colour(self.shading.share(value, self.low, self.high), stops)

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
        middle, ends = 0.5, (f"{'≤ ' * self.under}", f"{'≥ ' * self.over}")
        value = self._along(0.5)
        if self.shading.center is not None:
            first, last, value = (*self._ends, self.shading.center)
            at = math.log(value) if self.shading.log else value
            middle = (at - first) / (last - first) if last > first else -1.0
        inside = ((middle, number(value)),) if 0.12 <= middle <= 0.88 else ()
        return (
            (0.0, ends[0] + number(self.low)),
            *inside,
            (1.0, ends[1] + number(self.high)),
        )

    @property
    def words(self) -> str:
        """Say which number is white, or which colour is large."""
        if not math.isfinite(self.low):
            return "No cell has a value."
        if self.shading.kind == "sequential":
            return "The darker, the larger."
        if self.shading.center is not None:
            ratios = ", in steps of equal ratio" if self.shading.log else ""
            return f"White is {number(self.shading.center)}{ratios}."
        return f"White is {number(self._along(0.5))}, the middle of the range, not zero."

    @property
    def _ends(self) -> tuple[float, float]:
        if self.shading.log:
            return math.log(self.low), math.log(self.high)
        return self.low, self.high

    def _along(self, share: float) -> float:
        first, last = self._ends
        at = first + share * (last - first)
        return math.exp(at) if self.shading.log else at


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
    chosen = Shading("sequential") if one_hue else shading(metric, finite)
    inside = finite[finite > 0] if chosen.log else finite
    if not len(inside):
        return Scale(math.nan, math.nan, False, False, chosen)
    low, high = colour_range(inside)
    return Scale(low, high, bool((finite < low).any()), bool((finite > high).any()), chosen)
