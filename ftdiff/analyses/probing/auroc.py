"""AUROC over folds: within each fold, weighted by its pairs; an interval, and each row's part.

Scores of two folds come from two probes and are not compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.tensors import Array

#: Standard normal quantile of a two-sided 95 % interval.
Z95 = 1.959964
_GRID = np.linspace(0.0, 1.0, 10_001)


def auroc(scores: Array, labels: Array, fold: Array) -> Array:
    """Return the AUROC of each column of scores.

    Parameters
    ----------
    scores, labels
        float64 and bool, rows × columns.
    fold
        int, rows: the fold in which a row is tested; −1 where it is never.

    Returns
    -------
    float64, a number per column
        Mann-Whitney's U of every fold, ties as halves, over the number of pairs of all folds; NaN
        where no fold has both classes.
    """
    from scipy.stats import rankdata

    won, pairs = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for rows in tested(fold):
        ranks, here = rankdata(scores[rows], axis=0), labels[rows]
        n1 = here.sum(axis=0).astype(float)
        n0 = len(rows) - n1
        won += np.where(n0 > 0, (ranks * here).sum(axis=0) - n1 * (n1 + 1) / 2, 0.0)
        pairs += n1 * n0
    return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


def parts(scores: Array, labels: Array, fold: Array) -> Array:
    """Return each row's part in how far the AUROC strays: DeLong's placements, centred.

    Their squares add up to DeLong's variance of this AUROC; of two AUROCs on the same rows, the
    squares of the parts' differences add up to the variance of the difference.

    Parameters
    ----------
    scores, labels, fold
        As for `auroc`.

    Returns
    -------
    float64, rows × columns
        Zeros for a fold that lacks a class.
    """
    from scipy.stats import rankdata

    found, pairs = np.zeros(scores.shape), np.zeros(scores.shape[1])
    for rows in tested(fold):
        held, here = scores[rows], labels[rows]
        n1 = here.sum(axis=0).astype(float)
        n0 = len(rows) - n1
        own, other = (rankdata(np.where(of, held, np.inf), axis=0) for of in (here, ~here))
        # rows of the other class with a lower score, ties as halves
        above = rankdata(held, axis=0) - np.where(here, own, other)
        placed = np.where(here, above / np.maximum(n0, 1), 1 - above / np.maximum(n1, 1))
        middle = (placed * here).sum(axis=0) / np.maximum(n1, 1)
        size = np.where(here, n1, n0)
        few = np.sqrt(size / np.maximum(size - 1, 1))
        found[rows] = n1 * n0 * (placed - middle) / np.maximum(size, 1) * few
        pairs += n1 * n0
    return found / np.maximum(pairs, 1)


def interval(value: float, spread: float, n1: int, n0: int, z: float = Z95) -> tuple[float, float]:
    """Return every AUROC from which the one seen is no further than z standard errors.

    The standard error at .5 is `spread`, which permuted labels gave; at another AUROC it is that
    times the ratio of Hanley and McNeil's formula there and at .5.

    Parameters
    ----------
    value
        The AUROC seen.
    spread
        Root mean square distance from .5 when labels are permuted and probes are fitted anew.
    n1, n0
        Rows of each class.

    Examples
    --------
    >>> [round(end, 2) for end in interval(0.5, 0.05, 100, 100)]
    [0.4, 0.6]
    >>> interval(1.0, 0.05, 100, 100)[1]
    1.0
    """
    if not (np.isfinite(value) and np.isfinite(spread)):
        return float("nan"), float("nan")
    error = spread * np.sqrt(_hanley(_GRID, n1, n0) / _hanley(np.array([0.5]), n1, n0))
    held = _GRID[np.abs(value - _GRID) <= z * error]
    ends = (float(held.min()), float(held.max())) if len(held) else (value, value)
    return min(ends[0], value), max(ends[1], value)


def _hanley(value: Array, n1: int, n0: int) -> Array:
    """Return the variance of an AUROC of two exponential classes (Hanley and McNeil 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    sum_: Array = value * (1 - value) + (n1 - 1) * (q1 - value**2) + (n0 - 1) * (q2 - value**2)
    return sum_ / (n1 * n0)


def tested(fold: Array) -> Iterator[Array]:
    """Yield the rows of each fold that is tested."""
    for one in np.unique(fold[fold >= 0]):
        yield np.flatnonzero(fold == one)
