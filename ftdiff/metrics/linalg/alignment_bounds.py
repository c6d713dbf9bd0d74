"""How much of a vector can lie along one singular vector of a matrix, bounded without all of them.

The weights of a vector on the eigenvectors of H are the atoms of a measure. Lanczos from the vector
gives that measure's orthonormal polynomials p, and no atom at λ is larger than 1/Σ p(λ)².
"""

from __future__ import annotations

import numpy as np

from ftdiff.metrics.linalg.row_matrices import Matrix, runs
from ftdiff.metrics.linalg.svd import lost, short_gram
from ftdiff.tensors import Array

_POINTS = 16  # where the bound is looked at, between one Ritz value and the next


def largest_share(matrix: Matrix, left: Array, below: float, steps: int = 60) -> Array:
    """Bound how much of each vector is along one left singular vector of a matrix.

    Parameters
    ----------
    matrix
        M; its left singular vectors are the eigenvectors of H = MMᵀ.
    left
        rows × k, unit columns. Where rows are linearly dependent, what a column has in the space
        that M does not reach counts as one direction.
    below
        Lanczos stops when every bound is below this, or after `steps` steps.

    Returns
    -------
    bound
        k numbers: no squared inner product with a left singular vector exceeds them. They fall
        towards the largest one as steps are added. (Where singular values coincide, it is the
        share in their common space.)

    Notes
    -----
    The Christoffel function of a measure bounds its atoms (Akhiezer, The Classical Moment Problem,
    §2.5); Lanczos coefficients are the recurrence of its polynomials (Golub and Meurant, Matrices,
    Moments and Quadrature, ch. 4).
    """
    rows, k = left.shape
    steps = min(steps, rows)
    basis = np.empty((steps, rows, k))
    alpha, beta = np.zeros((steps, k)), np.zeros((steps, k))
    bound = np.ones(k)
    basis[0] = left / np.linalg.norm(left, axis=0)
    for j in range(steps):
        w = _square(matrix, basis[j])
        alpha[j] = (basis[j] * w).sum(axis=0)
        for _ in range(2):
            inner = np.einsum("smk,mk->sk", basis[: j + 1], w)
            w -= np.einsum("smk,sk->mk", basis[: j + 1], inner)
        beta[j] = np.linalg.norm(w, axis=0)
        largest = alpha[: j + 1].max(axis=0)
        done = beta[j] <= 1e-12 * np.maximum(largest, np.finfo(float).tiny)
        if j % 5 == 4 or j + 1 == steps or done.any():
            now = [_bound(alpha[: j + 1, i], beta[: j + 1, i]) for i in range(k)]
            bound = np.minimum(bound, now)
            if j + 1 == steps or done.any() or (bound < below).all():
                return bound
        basis[j + 1] = w / beta[j]
    return bound


def exact_share(matrix: Matrix, left: Array) -> Array:
    """Return the largest squared inner product of each column with a left singular vector.

    Costs the whole decomposition: the eigenvectors of the Gram matrix of the short side.
    """
    G, tall = short_gram(matrix), matrix.shape[0] > matrix.shape[1]
    squares, vectors = np.linalg.eigh(G)
    if not tall:
        return np.asarray(np.square(vectors.T @ left).max(axis=0))
    inner = np.zeros((matrix.shape[1], left.shape[1]))
    for start, stop in runs(matrix):
        inner += matrix.read(start, stop).T @ left[start:stop]
    there = squares > lost(G)
    shares = np.square(vectors[:, there].T @ inner) / squares[there, None]
    return np.asarray(shares.max(axis=0, initial=0.0))


def _square(matrix: Matrix, X: Array) -> Array:
    """Return M(MᵀX), in two passes over the rows."""
    inner = np.zeros((matrix.shape[1], X.shape[1]))
    for start, stop in runs(matrix):
        inner += matrix.read(start, stop).T @ X[start:stop]
    return np.concatenate([matrix.read(*run) @ inner for run in runs(matrix)])


def _bound(alpha: Array, beta: Array) -> float:
    """Return the largest of 1/Σp² over the line; at a Ritz value it is the quadrature's weight."""
    off = beta[: len(alpha) - 1]
    ritz, S = np.linalg.eigh(np.diag(alpha) + np.diag(off, 1) + np.diag(off, -1))
    found = float(np.square(S[0]).max())
    if len(ritz) == 1:
        return found
    at = np.linspace(ritz[:-1], ritz[1:], _POINTS).T.reshape(-1)
    width = np.repeat(np.diff(ritz) / (_POINTS - 1), _POINTS)
    for _ in range(4):  # closer and closer around the three largest
        shares = _shares(at, alpha, beta)
        found = max(found, float(shares.max()))
        top = np.argsort(shares)[-3:]
        at = np.linspace(at[top] - width[top], at[top] + width[top], _POINTS).reshape(-1)
        width = np.tile(width[top] * 2 / (_POINTS - 1), _POINTS)
    return found


def _shares(at: Array, alpha: Array, beta: Array) -> Array:
    """Return 1/Σp² at these points, by the polynomials' recurrence."""
    before, p, total = np.zeros_like(at), np.ones_like(at), np.ones_like(at)
    with np.errstate(all="ignore"):
        for j in range(len(alpha) - 1):
            if not beta[j] > 0:
                break
            back = beta[j - 1] * before if j else 0.0
            before, p = p, ((at - alpha[j]) * p - back) / beta[j]
            total += p * p
    shares: Array = np.nan_to_num(1 / total, nan=0.0)
    return shares
