"""How a metric is coloured, in every picture: what white is, or that there is none.

Blue, white and orange from the least number to the largest is how maps of change are published:
white is then the middle of the range, and no zero. Shares of a whole and cosines of which none is
negative are dark where there is much; lift is white at 1, on a scale of ratios, and cosines at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array

#: Blue, white, orange: ends of equal lightness, told apart by colour-blind readers.
DIVERGING = ("#1f5f9e", "#4a90c4", "#a3cbe3", "#ffffff", "#fcc48a", "#ee8434", "#b8520a")
#: From a pale blue, which is not the paper's white, to a dark one.
SEQUENTIAL = ("#eef4fa", "#c7ddef", "#94bfdf", "#5c9acb", "#2f74b0", "#165089", "#0b3260")


@dataclass(frozen=True)
class Rule:
    """How numbers become colours.

    Attributes
    ----------
    sequential
        Whether colours grow darker from the least to the largest; else they diverge from white.
    white
        The number that is white; None for the middle of the range.
    log
        Whether equal ratios are equal steps of colour.
    """

    sequential: bool = False
    white: float | None = None
    log: bool = False


def rule_of(metric: str, values: Array) -> Rule:
    """Return how a metric is coloured by default.

    Parameters
    ----------
    metric
        Its name; one that has no rule of its own has the published colours.
    values
        What is drawn: a cosine is white at 0 only where some are negative.

    >>> rule_of("relative_norm", np.array([1.0])), rule_of("energy_share", np.array([1.0]))
    (Rule(sequential=False, white=None, log=False), Rule(sequential=True, white=None, log=False))
    >>> rule_of("lift", np.array([0.5, 3.0]))
    Rule(sequential=False, white=1.0, log=True)
    """
    if metric == "lift":
        return Rule(white=1.0, log=True)
    if "energy" in metric:
        return Rule(sequential=True)
    if metric.startswith("cosine") or "_cosine" in metric:
        negative = bool((values[np.isfinite(values)] < 0).any())
        return Rule(white=0.0) if negative else Rule(sequential=True)
    return Rule()
