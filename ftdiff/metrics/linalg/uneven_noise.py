"""What noise has whose rows and columns differ in size: its edge, without a second spectrum.

Independent entries of variance r_i c_j, r and c of mean 1. Noise of 3 times the size in some rows
has singular values far above the edge of even noise, and no structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ftdiff.metrics.linalg.noise_spectrum import edge as even_edge
from ftdiff.metrics.linalg.noise_spectrum import noise
from ftdiff.metrics.linalg.row_matrices import Matrix, runs
from ftdiff.tensors import Array

# Sides up to which matrices are drawn to see where their median lies, and how many are.
_DRAWN, _DRAWS = (192, 768), 4
_STEPS = 50  # halvings of an interval


@dataclass(frozen=True, eq=False)
class Unevenness:
    """The variances of noise, as a product of a row's and a column's.

    Attributes
    ----------
    rows, columns
        r and c, each of mean 1; all 1 where chance alone explains how they differ.
    """

    rows: Array
    columns: Array

    @property
    def none(self) -> bool:
        """Say whether every row and every column is alike."""
        return bool((self.rows == 1).all() and (self.columns == 1).all())

    @property
    def edge(self) -> float:
        """What the largest singular value exceeds once in thousands of times."""
        shape = (len(self.rows), len(self.columns))
        return even_edge(*shape) if self.none else _edge(self.rows, self.columns)

    @property
    def median(self) -> float:
        """The singular value that half of them exceed.

        That of even noise, times by how much unevenness lowers it in smaller draws.
        """
        median = noise(len(self.rows), len(self.columns)).median
        return median if self.none else median * _lowered(self.rows, self.columns)


def unevenness(matrix: Matrix) -> Unevenness:
    """Return how the sizes of rows and of columns differ, in one pass.

    Notes
    -----
    Mean squares of rows and columns; means of Gaussian entries would vary by 2/n, which is taken
    out of their spread. A strong structure is in these means too, and raises the edge: what is
    counted above it is rather too little than too much.
    """
    rows, columns = [], np.zeros(matrix.shape[1])
    for run in runs(matrix):
        squares = np.square(matrix.read(*run))
        rows.append(squares.mean(axis=1))
        columns += squares.sum(axis=0)
    return Unevenness(
        _spread(np.concatenate(rows), len(columns)), _spread(columns, matrix.shape[0])
    )


def _spread(means: Array, entries: int) -> Array:
    """Return means of squares over their mean, drawn together by what chance spreads them."""
    mean = means.mean()
    if not (np.isfinite(mean) and mean > 0):
        return np.ones_like(means)
    relative = means / mean - 1
    variance = np.square(relative).mean()
    kept = max(0.0, 1 - 2 / entries / variance) if variance else 0.0
    drawn: Array = 1 + np.sqrt(kept) * relative
    return drawn


def _edge(r: Array, c: Array) -> float:
    """Return the edge and its width.

    Notes
    -----
    With t = Σ r p/(1 − r p) = Σ c q/(1 − c q), z(t) = t/(p q) is the inverse of the resolvent of
    MMᵀ beyond its largest eigenvalue, which is the least z (Silverstein and Choi 1995 for one
    side; Couillet and Hachem 2014 for both). With G = (m + t)/z the trace of the resolvent, the
    largest eigenvalue varies about it by (z″(G)/2)^⅓ in units of the Tracy-Widom law (El Karoui
    2007), of which 4 are added as for even noise: there, both give what Johnstone has.
    """

    def log_z(u: float) -> float:  # u = ln t
        t = math.exp(u)
        return u - math.log(_inverse(r, t)) - math.log(_inverse(c, t))

    middle = math.log(len(r) * len(c)) / 2  # where even noise has it
    low, high = middle - 12, middle + 12
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if log_z(left) < log_z(right) else (left, high)
    u, h = (low + high) / 2, 1e-2
    z = math.exp(log_z(u))
    bend = (log_z(u + h) - 2 * log_z(u) + log_z(u - h)) / h**2  # (ln z)″ in u: t² z″/z
    width: float = (bend * z**3 / math.exp(2 * u) / 2) ** (1 / 3)
    return math.sqrt(z + 4 * width)


def _inverse(sizes: Array, t: float) -> float:
    """Return the p at which Σ s p/(1 − s p) is t: it grows from 0 to the pole at 1/max s."""
    low, high = 0.0, 1 / float(sizes.max())
    for _ in range(_STEPS):
        p = (low + high) / 2
        share = sizes * p
        low, high = (p, high) if (share / (1 - share)).sum() < t else (low, p)
    return (low + high) / 2


def _lowered(r: Array, c: Array) -> float:
    """Return the median of draws of uneven noise over that of the same draws, even."""
    short, long = (r, c) if len(r) <= len(c) else (c, r)
    m = min(len(short), _DRAWN[0])
    n = min(max(m, round(len(long) * m / len(short))), _DRAWN[1], len(long))
    sizes = np.sqrt(np.outer(_fewer(short, m), _fewer(long, n)))
    draws = np.random.default_rng(m).normal(size=(_DRAWS, m, n))
    uneven, even = (np.linalg.svd(M, compute_uv=False) for M in (draws * sizes, draws))
    return float(np.median(uneven, axis=1).mean() / np.median(even, axis=1).mean())


def _fewer(sizes: Array, count: int) -> Array:
    """Return so many sizes that are spread as these are."""
    return np.asarray(np.quantile(sizes, (np.arange(count) + 0.5) / count))
