"""The whole spectrum of a matrix that is read by rows: exact, in the memory of its short side."""

from __future__ import annotations

from typing import Any

import numpy as np

from ftdiff.metrics.linalg.devices import eigenvalues, placed, working
from ftdiff.metrics.linalg.row_matrices import Matrix, block, reading, runs
from ftdiff.tensors import Array

#: Sides and entries up to which LAPACK's singular values are taken of the matrix itself.
SMALL_SIDE, SMALL_SIZE = 512, 1 << 22
_BLOCK = 64 << 20  # bytes of rows that are multiplied; a wide matrix holds them as others pass by
_EPS = float(np.finfo(np.float64).eps)


def singular_values(matrix: Matrix, device: str | None = None) -> tuple[Array, float, str]:
    """Return all min(rows, columns) singular values, largest first.

    Parameters
    ----------
    matrix
        Read by runs of rows.
    device
        A device of torch's ("cpu", "cuda", "cuda:1") on which the Gram matrix is added up and
        decomposed, in float64; None for NumPy. Small matrices are LAPACK's in any case.

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
    with working(device):
        G = short_gram(matrix, device)
        least = lost(G)
        if not np.isfinite(least):  # an entry that is not finite is in a square of the diagonal
            return np.full(short, np.nan), 0.0, "gram"
        squares = eigenvalues(G)[::-1]
    values = np.sqrt(np.where(squares > least, squares, 0.0))
    return values, float(np.sqrt(least) / values[0]) if values[0] else 0.0, "gram"


def needed(rows: int, columns: int) -> int:
    """Return how many bytes the whole spectrum of a matrix of that shape holds."""
    short, size = min(rows, columns), 8 * rows * columns
    if short <= SMALL_SIDE and rows * columns <= SMALL_SIZE:
        return 4 * size
    gram = 8 * short * short
    if rows >= columns:  # what is added to the Gram matrix is as large
        return 2 * gram + reading(rows, columns, _BLOCK)
    blocks = reading(rows, columns, _BLOCK) + min(_BLOCK, size)
    return max(2 * gram, gram + blocks + min(gram, 8 * (_BLOCK // (8 * columns) + 1) ** 2))


def short_gram(matrix: Matrix, device: str | None = None) -> Any:
    """Return MᵀM or MMᵀ, whichever is smaller: an array, or a tensor on the device."""
    rows, columns = matrix.shape
    return _tall(matrix, device) if rows >= columns else _wide(matrix, device)


def lost(G: Any) -> float:
    """Return what an eigenvalue of a Gram matrix has to exceed to be told from rounding."""
    return 4 * _EPS * float(G.trace())


def _tall(matrix: Matrix, device: str | None) -> Any:
    G = placed(np.zeros((matrix.shape[1],) * 2), device)
    for start, stop in runs(matrix, _BLOCK):
        M = placed(block(matrix, start, stop), device)
        G += M.T @ M
    return G


def _wide(matrix: Matrix, device: str | None) -> Any:
    """Return MMᵀ: a block of rows is held, and those after it pass by."""
    G = placed(np.zeros((matrix.shape[0],) * 2), device)
    blocks = list(runs(matrix, _BLOCK))
    for i, (start, stop) in enumerate(blocks):
        held = placed(block(matrix, start, stop), device)
        G[start:stop, start:stop] = held @ held.T
        for first, last in blocks[i + 1 :]:
            passing = held @ placed(block(matrix, first, last), device).T
            G[start:stop, first:last] = passing
            G[first:last, start:stop] = passing.T
    return G
