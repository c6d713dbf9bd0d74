"""Spherical interpolation: two parents' coefficients, which sum to a little more than 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.merges.sums import Sums
from ftdiff.analyses.merges.ways import written

#: How many standard errors the sum of the coefficients must lie over 1.
_SURE = 6
#: By how much it may miss what the angle foretells.
_CLOSE = 0.05


@dataclass(frozen=True)
class Slerp:
    """Two parents' coefficients as the angle between them foretells.

    Attributes
    ----------
    t, angle
        How far from the first towards the second, and the angle between them, in radians.
    weights, errors
        The fitted coefficients, whose sum is free.
    """

    t: float
    angle: float
    weights: tuple[float, float]
    errors: tuple[float, float]

    def tried(self) -> list[tuple[float, ...]]:
        """Return the coefficients that t gives, as it may be written, and as they are fitted."""
        error = max(self.errors)
        return [
            *(at(one, self.angle) for (one,) in written([self.t], [error])),
            self.weights,
        ]


def at(t: float, angle: float) -> tuple[float, float]:
    """Return both coefficients.

    >>> [round(one, 6) for one in at(0.5, math.pi / 2)]
    [0.707107, 0.707107]
    """
    whole = math.sin(angle)
    return math.sin((1 - t) * angle) / whole, math.sin(t * angle) / whole


def slerp(sums: Sums, with_base: bool) -> Slerp | None:
    """Return how far a tensor lies between its two parents on a sphere; None where on none."""
    angle = sums.angle
    if len(sums.gram) - 2 + (not with_base) != 2 or not angle > 0:
        return None
    free = sums.free()
    kappa, c = float(free.coefficients[0]), free.coefficients[1:]
    error = float(free.errors[0])
    if not np.isfinite(free.errors).all() or not kappa > _SURE * error:
        return None
    first, second = (c[0], c[1]) if with_base else (1 + kappa - c[0], c[0])
    near = max(_SURE * float(np.hypot(error, np.hypot(*free.errors[-2:]))), 1e-4)
    if abs(first + second - 1 - kappa) > near:
        return None
    t = math.atan2(second * math.sin(angle), first + second * math.cos(angle)) / angle
    if not 0 < t < 1:
        return None
    foretold = sum(at(t, angle)) - 1
    if abs(kappa - foretold) > max(_SURE * error, _CLOSE * foretold):
        return None
    errors = float(free.errors[1]), float(free.errors[-1])
    return Slerp(t, angle, (float(first), float(second)), errors)
