"""Least squares of a merged tensor's change on its parents', with standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff import kernels
from ftdiff.tensors import Array

#: Variance of a rounding error, in units of the spacing.
ROUNDING = 1 / 12
#: Directions of the parents' changes that are this much smaller than the others say nothing.
_SINGULAR = 1e-10
#: Shares that may be left beside rounding: half decades, and steps between these.
_COARSE = tuple(10.0 ** (i / 2) for i in range(-12, 1))
_FINE = tuple(10.0 ** (i / 12) for i in range(-3, 4))


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients of the parents' changes.

    Attributes
    ----------
    coefficients, errors
        float64, n. Where the changes do not determine one, its error is NaN: where there is no
        change it is 0, where two are one the coefficients are the smallest that do.
    chi_sq
        Σ (residual / spacing)² over what rounding alone would give it: 1 for a merge.
    """

    coefficients: Array
    errors: Array
    chi_sq: float


def weighted(D: Array, y: Array, sigma: Array) -> Array:
    """Return the Gram matrix of changes and the merged one, each entry over its own sigma.

    Parameters
    ----------
    D, y, sigma
        float64: n × entries, entries, entries.
    """
    rows = np.empty((len(D) + 1, len(y)))
    np.divide(D, sigma, out=rows[:-1])
    np.divide(y, sigma, out=rows[-1])
    return kernels.gram(rows)


def solve(gram: Array, count: int) -> Fit:
    """Fit the last row of a Gram matrix on the others.

    Parameters
    ----------
    gram
        As `weighted` returns it, or a sum of such.
    count
        Entries that any of the changes moves.
    """
    G, b, yy = gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]
    n = len(b)
    scale = np.sqrt(np.diagonal(G))
    used = scale > 0
    c, errors = np.zeros(n), np.full(n, np.nan)
    if not used.any():
        return Fit(c, errors, float(yy) / max(count, 1) / ROUNDING)
    s = scale[used]
    values, vectors = np.linalg.eigh(G[np.ix_(used, used)] / np.outer(s, s))
    good = values > _SINGULAR * values[-1]
    inverse = (vectors[:, good] / values[good]) @ vectors[:, good].T
    own = inverse @ (b[used] / s)
    left = max(0.0, float(yy - own @ (b[used] / s)))
    chi_sq = left / max(count - int(good.sum()), 1) / ROUNDING
    unknown = (vectors[:, ~good] ** 2).sum(axis=1) > 1e-6
    c[used] = own / s
    spread = np.sqrt(np.diagonal(inverse) * ROUNDING * max(1.0, chi_sq)) / s
    errors[used] = np.where(unknown, np.nan, spread)
    return Fit(c, errors, chi_sq)


def to_one(gram: Array, count: int) -> Array:
    """Fit the last row on the others with coefficients that sum to 1."""
    n = len(gram) - 1
    turn = np.zeros((n, n + 1))  # from the changes to those of the others against the first
    turn[:-1, 1:-1] = np.eye(n - 1)
    turn[-1, -1] = 1.0
    turn[:, 0] = -1.0
    own = solve(turn @ gram @ turn.T, count).coefficients
    return np.asarray(np.r_[1 - own.sum(), own])


@dataclass(frozen=True, eq=False)
class Refined:
    """A fit in which something else than rounding may have moved the entries.

    Attributes
    ----------
    fit
        Coefficients and their errors.
    left
        The root mean square of what is left beside rounding, over that of the merged change.
    sibling
        What would be left of one more fine-tune that is as like the parents as they are alike.
    """

    fit: Fit
    left: float
    sibling: float = 1.0


def refined(D: Array, y: Array, ulp: Array) -> Refined:
    """Fit with a variance beside rounding that is the same for every entry, the likeliest one.

    Where something was trained on top, entries of a fine spacing know the coefficients no better
    than others: weights of the spacing alone would leave a fit to a few of them.
    """
    moved = (D != 0).any(axis=0) | (y != 0)
    D, y, ulp = D[:, moved], y[moved], ulp[moved]
    size = float(np.sqrt(np.mean(y * y))) if len(y) else 0.0
    if not size:
        return Refined(solve(np.zeros((len(D) + 1,) * 2), 0), float("nan"))
    tried = _Tried(D, y, ulp, size)
    coarse = max(_COARSE, key=tried.likelihood)
    left = max((coarse * step for step in _FINE), key=tried.likelihood)
    return Refined(tried.fit(left), left, tried.sibling(left))


class _Tried:
    """Fits with so much left beside rounding, over the size of the merged change."""

    def __init__(self, D: Array, y: Array, ulp: Array, size: float) -> None:
        self.D, self.y, self.size = D, y, size
        self.rounding = ulp * ulp * ROUNDING

    def fit(self, left: float) -> Fit:
        return solve(self.gram(left), len(self.y))

    def gram(self, left: float) -> Array:
        sigma = np.sqrt((self.rounding + (left * self.size) ** 2) / ROUNDING)
        return weighted(self.D, self.y, sigma)

    def sibling(self, left: float) -> float:
        """Return √(1 − n·ρ² / (1 + (n − 1)·ρ)), ρ the mean cosine of n parents' changes."""
        G = self.gram(left)[:-1, :-1]
        norms = np.sqrt(np.diagonal(G))
        used = norms > 0
        n = int(used.sum())
        if n < 2:
            return 1.0
        cosines = (G / np.outer(norms, norms).clip(1e-300))[np.ix_(used, used)]
        rho = max(0.0, float((cosines.sum() - n) / (n * (n - 1))))
        return float(np.sqrt(max(0.0, 1 - n * rho * rho / (1 + (n - 1) * rho))))

    def likelihood(self, left: float) -> float:
        """Return the logarithm of the likelihood of normal errors, a constant left out."""
        residual = self.y - self.fit(left).coefficients @ self.D
        variance = self.rounding + (left * self.size) ** 2
        return -0.5 * float(np.sum(np.log(variance) + residual**2 / variance))
