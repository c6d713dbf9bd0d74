"""What the colours of a map stand for: white in the middle of the range, about a number, or one hue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ftdiff.tensors import Array

Kind: TypeAlias = Literal["middle", "about", "sequential"]
# Metrics with a number at which nothing is special, and whether their steps are ratios.
_ABOUT = {"lift": (1.0, True)}
_SIGNED = ("cosine", "slope", "path", "path_share")


@dataclass(frozen=True)
class Shading:
    """How numbers become colours between two ends.

    Attributes
    ----------
    kind
        "middle": blue, white and orange, as published, white in the middle of the range, which is
        not zero; "about": the same with white at `center`; "sequential": one hue, the darker the
        larger.
    center
        The number that is white, of "about".
    log
        Whether equal ratios, instead of equal differences, are equal steps of colour.
    """

    kind: Kind = "middle"
    center: float | None = None
    log: bool = False

    def share(self, value: float, low: float, high: float) -> float:
        """Return how far a value is along the colours that run between two numbers, from 0 to 1.

        >>> Shading().share(1.0, 0.0, 4.0), Shading("about", 1.0, log=True).share(2.0, 0.25, 4.0)
        (0.25, 0.75)
        """
        at, first, last = (self._step(one) for one in (value, low, high))
        if self.kind != "about":
            same = last - first <= 1e-9 * max(abs(first), abs(last))
            return 0.5 if same else min(max((at - first) / (last - first), 0.0), 1.0)
        middle = self._step(self.center or 0.0)
        reach = max(last - middle, middle - first) or 1.0
        return min(max(0.5 + (at - middle) / (2 * reach), 0.0), 1.0)

    def _step(self, value: float) -> float:
        if not self.log:
            return value
        return math.log(value) if value > 0 else -math.inf


def shading(metric: str, values: Array) -> Shading:
    """Choose what colours stand for: by the metric, and by whether its values have both signs.

    A lift is about 1, by ratios; what is signed, as a cosine, is about 0 where it has both signs;
    shares of energy and what is signed and never negative have one hue. All else is as published.

    Parameters
    ----------
    metric
        Its name; one that is not registered is as published.
    values
        float64, any shape; what is not finite is skipped.

    Examples
    --------
    >>> shading("lift", np.array([0.5, 2.0])), shading("cosine", np.array([0.9, 0.99]))
    (Shading(kind='about', center=1.0, log=True), Shading(kind='sequential', center=None, log=False))
    >>> shading("relative_norm", np.array([0.1, 0.2])).kind
    'middle'
    """
    finite = values[np.isfinite(values)]
    if metric in _ABOUT:
        center, log = _ABOUT[metric]
        return Shading("about", center, log and bool((finite > 0).any()))
    signed = metric in _SIGNED or metric.startswith(("cosine", "sign_cosine"))
    if signed and (finite < 0).any():
        return Shading("about", 0.0)
    if signed or "energy" in metric:
        return Shading("sequential")
    return Shading()
