"""What a matrix of independent noise has: the Marchenko-Pastur law, in singular values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ftdiff.tensors import Array

_POINTS = 4000


@dataclass(frozen=True, eq=False)
class Noise:
    """The singular values of m × n independent entries of variance 1, as m and n grow.

    Attributes
    ----------
    values, weights
        Points of the spectrum, ascending, and the share of singular values at each.
    count
        min(m, n).
    """

    values: Array
    weights: Array
    count: int

    @property
    def nuclear(self) -> float:
        """Σσ."""
        return float(self.count * (self.weights @ self.values))

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of σ/Σσ."""
        p = self.values / self.nuclear
        return float(np.exp(-self.count * (self.weights @ (p * np.log(p)))))

    @property
    def median(self) -> float:
        """The singular value that half of them exceed."""
        return float(np.interp(0.5, np.cumsum(self.weights), self.values))

    def rank_holding(self, share: float) -> float:
        """Return how many of the largest hold this share of Σσ²."""
        energy = np.cumsum((self.weights * self.values**2)[::-1])
        within = np.cumsum(self.weights[::-1])
        return float(self.count * np.interp(share, energy / energy[-1], within))


@lru_cache(maxsize=64)
def noise(rows: int, columns: int) -> Noise:
    """Return the law of m × n noise.

    Notes
    -----
    Eigenvalues x of XXᵀ/n, y = m/n ≤ 1, have density √((x₊−x)(x−x₋))/(2πyx) between
    x± = (1±√y)² (Marchenko and Pastur, 1967). With x = 1 + y + 2√y cos t it is smooth in t.
    """
    m, n = sorted((rows, columns))
    y = m / n
    t = (np.arange(_POINTS)[::-1] + 0.5) * np.pi / _POINTS
    x = 1 + y + 2 * np.sqrt(y) * np.cos(t)
    weights = np.sin(t) ** 2 / x
    return Noise(np.sqrt(n * x), weights / weights.sum(), m)


def edge(rows: int, columns: int) -> float:
    """Return what the largest singular value of unit noise exceeds once in thousands of times.

    Notes
    -----
    (σ₁² − μ)/s follows the Tracy-Widom law, μ = (√m+√n)², s = (√m+√n)(1/√m+1/√n)^⅓ (Johnstone, On
    the distribution of the largest eigenvalue, 2001); 4 is beyond its 0.9998 quantile.
    """
    m, n = np.sqrt(rows), np.sqrt(columns)
    return float(np.sqrt((m + n) ** 2 + 4 * (m + n) * (1 / m + 1 / n) ** (1 / 3)))
