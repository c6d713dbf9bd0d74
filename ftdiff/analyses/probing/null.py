"""What permuted labels give: a ridge probe in closed form refitted to all of them at once.

The ridge probe stands in for the logistic one: of one set of features its scores are one matrix
times the labels, so that hundreds of permutations cost one product.
"""

from __future__ import annotations

import numpy as np

from ftdiff.analyses.probing.auroc import tested
from ftdiff.tensors import Array

#: Weight of the squared coefficients; at small coefficients the logistic probe's own, whose loss
#: has a curvature of 1/4.
PENALTY = 4.0
#: Fewer different arrangements of the labels are no null.
FEWEST = 20


def ridge_scores(features: Array, labels: Array, fold: Array, *, scaled: bool = True) -> Array:
    """Return the scores of ridge probes, each row by the one that did not learn from it.

    Parameters
    ----------
    features
        float64, rows × d.
    labels
        bool, rows × columns: a probe for each column.
    fold
        As for `auroc`.
    scaled
        Whether features are standardised, by the rows that are learnt from.

    Returns
    -------
    float64, rows × columns
        NaN where a row is never tested.
    """
    from scipy.linalg import solve

    wanted = np.where(labels, 1.0, -1.0)
    found = np.full(labels.shape, np.nan)
    for rows in tested(fold):
        learnt = np.setdiff1d(np.arange(len(fold)), rows)
        X, new = standardised(features[learnt], features[rows], scaled=scaled)
        if X.shape[1] > X.shape[0]:
            K = X @ X.T
            hat = solve(_ridged(K), X @ new.T, assume_a="pos").T
        else:
            hat = new @ solve(_ridged(X.T @ X), X.T, assume_a="pos")
        found[rows] = hat @ (wanted[learnt] - wanted[learnt].mean(axis=0))
    return found


def standardised(learnt: Array, new: Array, *, scaled: bool = True) -> tuple[Array, Array]:
    """Centre features by the rows that are learnt from, and divide by their spread.

    A feature that varies by rounding alone is set to zero.
    """
    learnt, new = learnt.astype(np.float64), new.astype(np.float64)
    middle, spread = learnt.mean(axis=0), learnt.std(axis=0)
    size = np.abs(learnt).max(axis=0, initial=0.0)
    still = spread <= 1e-6 * size
    by = np.where(still, np.inf, spread if scaled else 1.0)
    return (learnt - middle) / by, (new - middle) / by


def _ridged(gram: Array) -> Array:
    return gram + PENALTY * np.eye(len(gram))


def arrangements(permuted: Array) -> int:
    """Return how many different columns there are.

    >>> arrangements(np.array([[True, False, True], [False, True, False]]))
    2
    """
    return len(np.unique(permuted, axis=1).T)


def spread(null: Array) -> Array:
    """Return the root mean square distance from .5 of each row of AUROCs under the null."""
    distance: Array = np.sqrt(np.mean((null - 0.5) ** 2, axis=-1))
    return distance


def single_p(seen: Array, null: Array) -> Array:
    """Return one-sided p of each cell: the share of arrangements, the true one among them, as high.

    Parameters
    ----------
    seen
        float64, cells: the ridge probe's AUROC.
    null
        float64, cells × arrangements.
    """
    higher = (null >= seen[:, None] - 1e-12).sum(axis=1)
    return np.where(np.isfinite(seen), (1 + higher) / (1 + null.shape[1]), np.nan)


def family_p(seen: Array, null: Array) -> Array:
    """Return p of each cell against the highest of all cells under the same arrangements.

    Westfall and Young's step-down: a cell is held against those that are no higher than it. Cells
    are compared in standard deviations of their own null, so that one with fewer rows does not
    decide for all.
    """
    found = np.full(len(seen), np.nan)
    known = np.flatnonzero(np.isfinite(seen) & np.isfinite(null).all(axis=1))
    if not len(known):
        return found
    middle, by = null[known].mean(axis=1), null[known].std(axis=1)
    by = np.where(by > 0, by, np.inf)
    high, drawn = (seen[known] - middle) / by, (null[known] - middle[:, None]) / by[:, None]
    order = np.argsort(high)
    most = np.maximum.accumulate(drawn[order], axis=0)
    p = (1 + (most >= high[order, None] - 1e-12).sum(axis=1)) / (1 + null.shape[1])
    stepped = np.maximum.accumulate(p[::-1])[::-1]  # a lower cell is never surer than a higher
    found[known[order]] = stepped
    return found
