"""The whole spectrum of a matrix that is read by rows: exact, in the memory of its short side."""

from __future__ import annotations

import numpy as np

from ftdiff.spectra.matrices import Matrix, runs
from ftdiff.tensors import Array

#: Sides and entries up to which LAPACK's singular values are taken of the matrix itself.
SMALL_SIDE, SMALL_SIZE = 512, 1 << 22
_BLOCK = 256 << 20  # bytes of rows that a wide matrix holds while the others pass by
_EPS = float(np.finfo(np.float64).eps)


def singular_values(matrix: Matrix) -> tuple[Array, float, str]:
    """Return all min(rows, columns) singular values, largest first.

    Returns
    -------
    values
        float64; NaN where an entry is not finite.
    bound
        Of the error of any of them, relative to the largest.
    method
        "svd" for small matrices, else "gram".

    Notes
    -----
    The Gram matrix of the short side, min(rows, columns)² float64, is added up over runs of rows;
    the singular values are the roots of its eigenvalues. Rounding moves an eigenvalue by no more
    than a few units of the total (Golub and Van Loan, §8.1), so that a singular value below the
    bound cannot be told from zero; it is given as zero.
    """
    rows, columns = matrix.shape
    short = min(rows, columns)
    if short <= SMALL_SIDE and rows * columns <= SMALL_SIZE:
        M = matrix.read(0, rows)
        if not np.isfinite(M).all():
            return np.full(short, np.nan), 0.0, "svd"
        return np.linalg.svd(M, compute_uv=False), max(rows, columns) * _EPS, "svd"
    G = short_gram(matrix)
    if not np.isfinite(G).all():
        return np.full(short, np.nan), 0.0, "gram"
    least = lost(G)
    squares = np.linalg.eigvalsh(G)[::-1]
    values = np.sqrt(np.where(squares > least, squares, 0.0))
    return values, float(np.sqrt(least) / values[0]) if values[0] else 0.0, "gram"


def short_gram(matrix: Matrix) -> Array:
    """Return MᵀM or MMᵀ, whichever is smaller."""
    return _tall(matrix) if matrix.shape[0] >= matrix.shape[1] else _wide(matrix)


def lost(G: Array) -> float:
    """Return what an eigenvalue of a Gram matrix has to exceed to be told from rounding."""
    return 4 * _EPS * float(np.trace(G))


def _tall(matrix: Matrix) -> Array:
    G = np.zeros((matrix.shape[1],) * 2)
    for start, stop in runs(matrix, _BLOCK // 4):
        M = matrix.read(start, stop)
        G += M.T @ M
    return G


def _wide(matrix: Matrix) -> Array:
    """Return MMᵀ: a block of rows is held, and those after it pass by."""
    G = np.zeros((matrix.shape[0],) * 2)
    blocks = list(runs(matrix, _BLOCK))
    for i, (start, stop) in enumerate(blocks):
        held = matrix.read(start, stop)
        G[start:stop, start:stop] = held @ held.T
        for first, last in blocks[i + 1 :]:
            passing = held @ matrix.read(first, last).T
            G[start:stop, first:last] = passing
            G[first:last, start:stop] = passing.T
    return G
