"""The scale of a metric: the colours that it has by default, or those that are given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, LogNorm

from ftdiff.comparison.colour_range import colour_range
from ftdiff.comparison.colour_rule import Rule, rule_of
from ftdiff.errors import BadCall
from ftdiff.plots.elements.colours import (
    BLUE_WHITE_ORANGE,
    MISSING,
    SEQUENTIAL_BLUE,
    Scale,
    beyond,
    centred,
    round_ticks,
    scale_of,
)
from ftdiff.tensors import Array

# Ticks of ratios at most, and how much wider than its number a single ratio's range is.
_TICKS, _ROOM = 5, math.log(1.1)


class Ratios(LogNorm):
    """Logarithms between limits; what has none, a share of zero, is as the least."""

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        """Return where numbers stand between the limits, 0 to 1."""
        return super().__call__(np.ma.maximum(value, float(self.vmin or 0.0)), clip)


def scale_for(
    metric: str,
    values: Array,
    *,
    cmap: Colormap | str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    center: float | None = None,
    robust: bool = False,
) -> Scale:
    """Choose limits and colours as the metric has them (`rule_of`), but for what is given.

    Raises
    ------
    UnknownName
        No colours have that name.
    BadCall
        As in `scale_of`.
    """
    rule = rule_of(metric, values)
    given = {"vmin": vmin, "vmax": vmax, "robust": robust}
    if cmap is not None:
        return scale_of(values, cmap, center=center, **given)  # type: ignore[arg-type]
    if rule.log and center in (None, rule.white) and (values > 0).any():
        return _ratios(values, rule, vmin, vmax, robust=robust)
    if rule.sequential and center is None:
        return scale_of(values, SEQUENTIAL_BLUE, **given)  # type: ignore[arg-type]
    white = rule.white if center is None and not rule.log else center
    return scale_of(values, center=white, **given)  # type: ignore[arg-type]


def _ratios(
    values: Array, rule: Rule, vmin: float | None, vmax: float | None, *, robust: bool
) -> Scale:
    """Equal ratios are equal steps, as dark as far on either side of white."""
    finite = values[np.isfinite(values)]
    logs = np.log(finite[finite > 0])
    low, high = np.percentile(logs, [2, 98]) if robust else colour_range(logs)
    if high - low < 1e-9:
        low, high = low - _ROOM, high + _ROOM
    least, most = math.exp(low) if vmin is None else vmin, math.exp(high) if vmax is None else vmax
    if not 0 < least < most < math.inf:
        raise BadCall(f"the colours would go from {least:g} to {most:g}: ratios are positive")
    white = rule.white or 1.0
    colours = centred(BLUE_WHITE_ORANGE, math.log(least), math.log(most), math.log(white))
    return Scale(
        least,
        most,
        colours.with_extremes(bad=MISSING),
        _ticks(least, most),
        beyond(finite, least, most),
        f"white: {white:g}, as much as its size would have",
        Ratios(least, most),
    )


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Return powers of two within, every one or every second, …; round numbers where few fit.

    >>> _ticks(0.2, 9.0), _ticks(0.9, 1.3)
    ((0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.9, 1.0, 1.1, 1.2, 1.3))
    """
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    every = max(1, math.ceil((last - first) / _TICKS))
    powers = tuple(2.0**k for k in range(first, last + 1) if k % every == 0)
    return powers if len(powers) > 2 else round_ticks(low, high)
