"""Linear CKA without the bias of few samples: how alike two models see the same texts."""

from __future__ import annotations

import numpy as np

from ftdiff.tensors import Array

#: Fewer samples have no unbiased estimate.
LEAST = 4


def unbiased_cka(X: Array, Y: Array) -> float:
    """Return linear CKA from the unbiased estimate of HSIC (Song et al. 2012, Nguyen et al. 2021).

    Parameters
    ----------
    X, Y
        float64, samples × d, the same samples in each; d may differ. Samples are independent: of a
        text one vector.

    Returns
    -------
    float
        1 for states that are alike but for a rotation, a scale and a shift, about 0 for
        independent ones, below where they are less alike than that; NaN for fewer than 4 samples,
        or where one side does not vary.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(unbiased_cka(X, 3 * X + 1), 6)
    1.0
    """
    if len(X) < LEAST:
        return float("nan")
    K, L = _gram(X), _gram(Y)
    if np.array_equal(K, L):
        return 1.0 if _hsic(K, K) > 0 else float("nan")
    own = _hsic(K, K), _hsic(L, L)
    if min(own) <= 0:
        return float("nan")
    return float(_hsic(K, L) / np.sqrt(own[0]) / np.sqrt(own[1]))


def _gram(X: Array) -> Array:
    """Return inner products of the samples about their mean, none of a sample with itself."""
    centred = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    K: Array = centred @ centred.T
    np.fill_diagonal(K, 0.0)
    return K


def _hsic(K: Array, L: Array) -> float:
    n = len(K)
    product = float((K * L).sum())
    sums = float(K.sum()) * float(L.sum()) / ((n - 1) * (n - 2))
    crossed = 2 / (n - 2) * float(K.sum(axis=0) @ L.sum(axis=1))
    return (product + sums - crossed) / (n * (n - 3))
