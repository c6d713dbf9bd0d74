"""What a probe reads in one cell, a site of a layer at a position: its AUROC and its null."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.analyses.probing import null as nulls
from ftdiff.analyses.probing.auroc import Z95, auroc, interval, parts, tested
from ftdiff.analyses.probing.folds import Protocol
from ftdiff.errors import require
from ftdiff.tensors import Array

#: Rows of each class under which a cell has no number.
LEAST = 20
#: Arrangements of the labels from which the variance that rows alone would give is taken.
_OWN = 20


@dataclass(frozen=True, eq=False)
class Setup:
    """What all cells have in common.

    Attributes
    ----------
    labels, fold
        Of each row; see `folds.folds`.
    permuted
        bool, rows × arrangements; see `folds.permuted`.
    clusters
        int: the group of each row.
    protocol, seed
        How the probe is fitted.
    compared
        Whether there is another model to compare with: each row's part is wanted then.
    """

    labels: Array
    fold: Array
    permuted: Array
    clusters: Array
    protocol: Protocol
    seed: int
    compared: bool = False

    @property
    def scaled(self) -> bool:
        """Whether features are standardised."""
        return self.protocol == "cv"


@dataclass(frozen=True, eq=False)
class Cell:
    """The numbers of a cell.

    Attributes
    ----------
    n
        Rows that have the position.
    auroc, low, high
        Of the logistic probe, and its interval; NaN where a class has too few rows.
    ridge
        AUROC of the ridge probe, which is held against `null`.
    null
        float64: its AUROC under each arrangement of the labels.
    parts
        Each row's part in how far the AUROC strays; zeros for rows without the position, and where
        nothing is compared.
    inflation
        How many times larger its variance is than that of scores not learnt from these rows.
    converged
        Whether the fits of the logistic probe came to their end.
    """

    n: int
    auroc: float
    low: float
    high: float
    ridge: float
    null: Array
    parts: Array
    inflation: float
    converged: bool = True


def measure(features: Array, there: Array, setup: Setup) -> Cell:
    """Fit the probes of one cell.

    Parameters
    ----------
    features
        float32, rows × d.
    there
        bool: which rows have the position.
    """
    n, labels, fold = int(there.sum()), setup.labels[there], setup.fold[there]
    n1, n0 = int(labels.sum()), int((~labels).sum())
    none = np.full(setup.permuted.shape[1], np.nan)
    still = np.zeros(len(there))
    if min(n1, n0) < LEAST:
        return Cell(n, np.nan, np.nan, np.nan, np.nan, none, still, np.nan)
    X = features[there].astype(np.float64)
    scores, converged = logistic_scores(X, labels, fold, setup)
    value = float(auroc(scores[:, None], labels[:, None], fold)[0])
    both = np.column_stack([labels, setup.permuted[there]])
    ridge = nulls.ridge_scores(X, both, fold, scaled=setup.scaled)
    seen, *drawn = auroc(ridge, both, fold)
    null = np.array(drawn)
    if nulls.arrangements(setup.permuted[there]) < nulls.FEWEST:
        null = none
    spread = float(nulls.spread(null))
    low, high = interval(value, spread, n1, n0)
    if not setup.compared:
        return Cell(n, value, low, high, float(seen), null, still, np.nan, converged)
    groups = setup.clusters[there]
    still[there] = parts(scores[:, None], labels[:, None], fold)[:, 0]
    own = parts(ridge[:, 1 : 1 + _OWN], both[:, 1 : 1 + _OWN], fold)
    summed = [np.bincount(groups, column) for column in own.T]
    middle = float(np.mean([(held**2).sum() for held in summed]))
    inflation = max(1.0, spread**2 / middle) if middle > 0 else 1.0
    return Cell(n, value, low, high, float(seen), null, still, inflation, converged)


def logistic_scores(X: Array, labels: Array, fold: Array, setup: Setup) -> tuple[Array, bool]:
    """Return the scores of the logistic probe, each row by the one that did not learn from it."""
    kind = require("sklearn.linear_model", "models", "probing").LogisticRegression
    steps = 1000 if setup.scaled else 100
    found, converged = np.full(len(labels), np.nan), True
    for rows in tested(fold):
        learnt = np.setdiff1d(np.arange(len(fold)), rows)
        if len({*labels[learnt].tolist()}) < 2:
            found[rows] = 0.0
            continue
        old, new = nulls.standardised(X[learnt], X[rows], scaled=setup.scaled)
        fit: Any = kind(max_iter=steps, random_state=setup.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge is counted
            fit.fit(old, labels[learnt])
        converged &= bool(fit.n_iter_.max() < steps)
        found[rows] = fit.decision_function(new)
    return found, converged


@dataclass(frozen=True)
class Difference:
    """How much better one model's cell is read than the other's."""

    n: int
    difference: float
    low: float
    high: float
    p: float
    p_family: float


def differences(
    first: Sequence[Cell], second: Sequence[Cell], setup: Setup, draws: int = 2000
) -> list[Difference]:
    """Compare cells of two models on the same rows and folds.

    The variance of a difference is DeLong's for paired AUROCs, summed by group, times what
    learning from the same rows adds to it; p is of Student's t, since the smaller class has few
    groups. The family-wise p is that of the largest difference of all cells when the parts of each
    group change their signs together.
    """
    from scipy.stats import norm, t

    number = int(setup.clusters.max()) + 1
    signs = np.random.default_rng(setup.seed).choice([-1.0, 1.0], (draws, number))
    rows = np.zeros((number, len(setup.clusters)))
    rows[setup.clusters, np.arange(len(setup.clusters))] = 1.0
    apart = np.array([b.parts - a.parts for a, b in zip(first, second, strict=True)])
    summed = rows @ apart.T  # groups × cells
    grown = np.array(
        [np.mean([a.inflation, b.inflation]) for a, b in zip(first, second, strict=True)]
    )
    error = np.sqrt((summed**2).sum(axis=0) * grown)
    value = np.array([b.auroc - a.auroc for a, b in zip(first, second, strict=True)])
    safe = np.where(error > 0, error, 1.0)
    z = np.where(error > 0, np.abs(value) / safe, np.where(value == 0, 0.0, np.inf))
    z = np.where(np.isfinite(value) & np.isfinite(error), z, np.nan)
    fewest = min(len({*setup.clusters[setup.labels == of].tolist()}) for of in (False, True))
    p = 2 * t.sf(z, max(fewest - 1, 1))
    z = norm.isf(np.maximum(p, 1e-300) / 2)  # a normal distance that is as rare
    known = np.isfinite(z) & (error > 0)
    most = np.abs(signs @ summed[:, known] * np.sqrt(grown[known]) / error[known])
    highest = most.max(axis=1) if known.any() else np.zeros(draws)
    family = (1 + (highest[:, None] >= z[None] - 1e-12).sum(axis=0)) / (1 + draws)
    return [
        Difference(
            a.n, float(value[i]), float(value[i] - Z95 * error[i]),
            float(value[i] + Z95 * error[i]), float(p[i]),
            float(family[i]) if np.isfinite(z[i]) else np.nan,
        )
        for i, a in enumerate(first)
    ]  # fmt: skip
