"""From numbers to colours: the limits, the colour map between them, and round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator

from ftdiff.comparison.colour_range import colour_range
from ftdiff.comparison.colour_rule import DIVERGING, SEQUENTIAL
from ftdiff.errors import BadCall
from ftdiff.registry import Registry
from ftdiff.tensors import Array

#: The face of a cell without a value: neutral, and apart from the white of the middle.
MISSING = "#e9e9ec"

#: Blue, white, orange: ends of equal lightness, told apart by colour-blind readers.
BLUE_WHITE_ORANGE = LinearSegmentedColormap.from_list("ftdiff.blue_white_orange", [*DIVERGING])
#: From pale to dark blue.
SEQUENTIAL_BLUE = LinearSegmentedColormap.from_list("ftdiff.sequential", [*SEQUENTIAL])
#: Our own colours by the names that options take, beside matplotlib's.
NAMED: Mapping[str, Colormap] = {"diverging": BLUE_WHITE_ORANGE, "sequential": SEQUENTIAL_BLUE}

#: Numbers beyond cannot be told from infinity: products of a few of them must be finite.
LARGEST = 1e100

# Limits closer than this, relative to the larger, are one number.
_SAME = 1e-9
# Spread, relative to the largest value, under which a full range of colours exaggerates.
_NARROW = 0.1


Extend: TypeAlias = Literal["neither", "min", "max", "both"]


@dataclass(frozen=True)
class Scale:
    """How numbers become colours.

    Attributes
    ----------
    vmin, vmax
        The numbers at the ends of the colour bar.
    cmap
        The colours between them; `MISSING` for NaN.
    ticks
        At most five round numbers within.
    extend
        At which ends of the bar data lie beyond the limits: drawn as arrows.
    white
        Which number is white, in words; "" for colours that have none.
    norm
        Where equal steps of colour are not equal steps of the number; None where they are.
    """

    vmin: float
    vmax: float
    cmap: Colormap
    ticks: tuple[float, ...]
    extend: Extend
    white: str = ""
    norm: Normalize | None = None


def scale_of(
    values: Array,
    cmap: Colormap | str = BLUE_WHITE_ORANGE,
    *,
    vmin: float | None = None,
    vmax: float | None = None,
    center: float | None = None,
    robust: bool = False,
    ticks: tuple[float, ...] | None = None,
) -> Scale:
    """Choose limits and colours for these numbers.

    Parameters
    ----------
    values
        float64, any shape; NaN is skipped.
    cmap
        A colour map or its name in matplotlib.
    vmin, vmax
        Limits; by default the data's own, but for few outlying cells (see `colour_range`); with
        `robust` their 2nd and 98th percentiles.
    center
        The number at the middle colour. By default the middle of the limits. Both sides keep one
        slope: equal steps of colour are equal steps of the number.
    ticks
        By default, round numbers within the limits.

    Raises
    ------
    BadCall
        The limits are not finite, or not in order.
    """
    finite = values[np.isfinite(values)]
    low, high, same = _limits(finite, vmin, vmax, robust)
    if ticks is None:
        ticks = (float(finite.min()),) if same else round_ticks(low, high)
    extend = beyond(finite, low, high)
    base = colours_of(cmap)
    colours = base if center is None else centred(base, low, high, center)
    white = _middle(low, high, center) if base is BLUE_WHITE_ORANGE and not same else ""
    return Scale(low, high, colours.with_extremes(bad=MISSING), ticks, extend, white)


def beyond(values: Array, low: float, high: float) -> Extend:
    """Say at which ends of the limits there are numbers beyond."""
    below, above = bool(np.nanmin(values) < low), bool(np.nanmax(values) > high)
    return "both" if below and above else "min" if below else "max" if above else "neither"


def colours_of(cmap: Colormap | str) -> Colormap:
    """Return colours by their name: ours, or any of matplotlib's or seaborn's.

    Raises
    ------
    UnknownName
        None have that name.
    """
    if not isinstance(cmap, str):
        return cmap
    return Registry("colour map", {**mpl.colormaps, **NAMED})[cmap]


def extended(ends: Iterable[str]) -> Extend:
    """Join the ends of several bars at which data lie beyond.

    >>> extended(["neither", "min"]), extended(["max", "min"])
    ('min', 'both')
    """
    there = {*ends} - {"neither"}
    if not there:
        return "neither"
    return "both" if there != {"min"} and there != {"max"} else "min" if "min" in there else "max"


def _limits(
    finite: Array, vmin: float | None, vmax: float | None, robust: bool
) -> tuple[float, float, bool]:
    """The limits, and whether they are around one single number."""
    for name, given in (("vmin", vmin), ("vmax", vmax)):
        if given is not None and not abs(given) <= LARGEST:
            raise BadCall(f"{name}={given}: a limit is a finite number")
    ends = np.percentile(finite, [2, 98]) if robust else colour_range(finite)
    low = float(ends[0]) if vmin is None else float(vmin)
    high = float(ends[1]) if vmax is None else float(vmax)
    if vmin is None and vmax is None and high - low <= _SAME * max(abs(low), abs(high)):
        low, high = float(finite.min()), float(finite.max())  # robust limits may hide what differs
        if high - low <= _SAME * max(abs(low), abs(high)):
            room = abs(low) / 10 or 1.0
            return low - room, high + room, True
    if low >= high:
        raise BadCall(f"the colours would go from {low:g} to {high:g}: set vmin below vmax")
    return low, high, False


def centred(cmap: Colormap, low: float, high: float, center: float) -> Colormap:
    """Cut colours so that their middle is at a number, and both sides keep one slope."""
    if not abs(center) <= LARGEST:
        raise BadCall(f"center={center}: the middle of the colours is a finite number")
    reach = max(abs(high - center), abs(low - center))
    first, last = ((limit - center) / (2 * reach) + 0.5 for limit in (low, high))
    return ListedColormap(cmap(np.linspace(first, last, 512)), name=f"{cmap.name}.centred")


def round_ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """Return at most `most` round numbers from `low` to `high`, as many as there are.

    Examples
    --------
    >>> round_ticks(0.0112, 0.0319)
    (0.015, 0.02, 0.025, 0.03)
    """
    best: tuple[float, ...] = ()
    for bins in range(most + 2, 1, -1):
        tried = MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        inside = tuple(
            min(max(_rounded(t, high - low), low), high) for t in tried if low <= t <= high
        )
        if len(best) < len(inside) <= most:
            best = inside
    return best


def _rounded(tick: float, span: float) -> float:
    """Drop the dust of floating point from a round number."""
    return round(float(tick), 3 - math.floor(math.log10(span))) + 0.0


def tick_texts(ticks: tuple[float, ...]) -> list[str]:
    """Write ticks alike: as few decimals as tell them exactly, or an exponent where all are small.

    Examples
    --------
    >>> tick_texts((0.015, 0.02)), tick_texts((0.0, 2e-5)), tick_texts((-1.0, 0.0))
    (['0.015', '0.020'], ['0', '2e-5'], ['−1', '0'])
    """
    largest = max((abs(t) for t in ticks), default=0.0)
    form = "f" if not largest or 1e-4 <= largest < 1e6 else "e"
    texts = [_tidied(f"{t:.{_places(ticks, form)}{form}}") for t in ticks]
    return [text.replace("-", "−", 1) if text.startswith("-") else text for text in texts]


def _places(ticks: tuple[float, ...], form: str) -> int:
    """How many decimals tell these ticks, or three digits of a single odd number."""
    largest = max((abs(t) for t in ticks), default=0.0)
    gaps = [high - low for low, high in pairwise(ticks)]
    near = 1e-3 * min(gaps, default=largest)
    for places in range(16):
        if all(abs(float(f"{t:.{places}{form}}") - t) <= near for t in ticks):
            return places
    return 16


def _tidied(text: str) -> str:
    """Write 2.50e-05 as 2.5e-5, and nothing as 0."""
    mantissa, letter, exponent = text.partition("e")
    if not letter:
        return text
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return "0" if float(mantissa) == 0 else f"{mantissa}e{int(exponent)}"


def narrowness(values: Array, scale: Scale) -> str:
    """Say when a narrow range is stretched over all colours, or return ""."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    if len(finite) < 2:
        return ""
    if high - low <= _SAME * largest:
        return f"every cell is {low:.3g}"
    if high - low < _NARROW * largest and scale.vmax - scale.vmin < _NARROW * largest:
        return f"narrow range: all cells within {100 * (high - low) / largest:.2g} % of the largest"
    return ""


def _middle(low: float, high: float, center: float | None) -> str:
    """Say which number is white between the colours, and what it is."""
    middle = (low + high) / 2
    if center is not None and (not center or abs(center - middle) > 1e-3 * (high - low)):
        return f"white: {center:.3g}"
    no_zero = ", not 0" if abs(middle) > 1e-3 * (high - low) else ""
    return f"white: {middle:.3g}, the middle of the range{no_zero}"
