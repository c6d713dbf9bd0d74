"""The largest singular values and their vectors, by Lanczos, with the residual as the bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ftdiff.metrics.linalg.row_matrices import RUN, Matrix, runs
from ftdiff.tensors import Array, bounds

#: Entries that are held in float32 while iterating; a larger matrix is read again at each step.
HELD = 1 << 27
#: The relative error bound at which the iteration stops, and the most steps that it takes.
TOLERANCE, STEPS = 1e-4, 300
_RUN = 2 << 20  # bytes of float32 that are multiplied while they are in the cache
_LOOK = 5  # steps from one look at the residual to the next


@dataclass(frozen=True, eq=False)
class Leading:
    """The k largest singular values of a matrix, largest first, and their vectors.

    Attributes
    ----------
    values
        k values, float64; NaN where an entry of the matrix is not finite.
    left, right
        rows × k and columns × k; orthonormal. A left vector is zero where its value is.
    bound
        Of each value's relative error, from the residual in float64.
    sumsq
        The matrix' squared Frobenius norm.
    steps
        How many steps were taken.
    """

    values: Array
    left: Array
    right: Array
    bound: Array
    sumsq: float
    steps: int


def leading(
    matrix: Matrix, k: int = 1, tolerance: float = TOLERANCE, steps: int = STEPS
) -> Leading:
    """Return the k largest singular values, and how far they can be off.

    Notes
    -----
    Lanczos on MᵀM, fully reorthogonalised (Golub and Van Loan, Matrix Computations, §10.1), from a
    fixed start. MᵀM v takes one pass over the rows, in float32; the values, vectors and residuals
    that are returned come from a last pass in float64. An eigenvalue λ of MᵀM lies within
    ‖MᵀM v − θv‖ of θ (the same book, §8.1), and none of the k largest is below its θ: what is
    returned is a lower bound, and `bound` says by how much σ can be larger, provided that the start
    is not at right angles to what is sought.
    """
    rows, columns = matrix.shape
    k = min(k, rows, columns)
    scale, sumsq = _scale(matrix)
    if scale == 0.0 or not np.isfinite(sumsq):
        fill = 0.0 if scale == 0.0 else float("nan")
        left, right = np.full((rows, k), fill), np.eye(columns, k) + fill
        return Leading(np.full(k, fill), left, right, np.zeros(k), sumsq, 0)
    right, taken = _iterate(_normal(matrix, scale), columns, k, tolerance, steps)
    return _refined(matrix, right, scale, sumsq, taken)


def needed(rows: int, columns: int) -> int:
    """Return how many bytes `leading` holds of a matrix of that shape, within the bound here."""
    return _least(rows, columns) + 4 * rows * columns * _is_held(rows, columns)


def _least(rows: int, columns: int) -> int:
    """Return what is held where a matrix is read again at each step."""
    run = min(RUN, 8 * rows * columns)
    return 3 * run + 8 * columns * min(columns, STEPS)


def _is_held(rows: int, columns: int) -> bool:
    """Say whether a matrix is held: the same bits come out where it is read again."""
    size = rows * columns
    return size <= HELD and _least(rows, columns) + 4 * size <= bounds.held().size


def _scale(matrix: Matrix) -> tuple[float, float]:
    """Return a power of two near the largest entry, and the squared norm; NaN if not finite."""
    largest, total = 0.0, 0.0
    for start, stop in runs(matrix):
        M = matrix.read(start, stop)
        largest = max(largest, float(np.abs(M).max(initial=0.0)))
        total += float(np.vdot(M, M))
    if not np.isfinite(total):
        return float("nan"), float("nan")
    return (2.0 ** np.frexp(largest)[1] if largest else 0.0), total


def _normal(matrix: Matrix, scale: float) -> Callable[[Array], Array]:
    """Return v ↦ MᵀMv/scale², M held in float32 where it is not too large."""
    rows, columns = matrix.shape
    step = max(1, _RUN // (4 * columns))
    held = None
    if _is_held(rows, columns):
        held = np.empty((rows, columns), np.float32)
        for start, stop in runs(matrix):
            held[start:stop] = matrix.read(start, stop) / scale

    def times(v: Array) -> Array:
        v32, total = v.astype(np.float32), np.zeros(columns)
        for start, stop in runs(matrix):
            M = (matrix.read(start, stop) / scale).astype(np.float32) if held is None else None
            for first in range(start, stop, step):
                last = min(first + step, stop)
                part = held[first:last] if M is None else M[first - start : last - start]  # type: ignore[index]
                total += part.T @ (part @ v32)
        return total

    return times


def _iterate(
    times: Callable[[Array], Array], columns: int, k: int, tolerance: float, steps: int
) -> tuple[Array, int]:
    """Return k Ritz vectors (columns × k) and the number of steps."""
    draw = np.random.default_rng(columns)
    most = min(columns, max(steps, 2 * k))
    V = np.empty((most, columns))
    alpha, beta = np.zeros(most), np.zeros(most)
    w = draw.normal(size=columns)
    for j in range(most):
        V[j] = w / np.linalg.norm(w)
        w = times(V[j])
        alpha[j] = V[j] @ w
        for _ in range(2):  # once leaves the rounding of what it takes away
            w -= V[: j + 1].T @ (V[: j + 1] @ w)
        beta[j] = np.linalg.norm(w)
        exhausted = beta[j] <= 1e-7 * alpha[: j + 1].max()  # float32: the rest is rounding
        if exhausted and j + 1 < min(k, columns):
            w = draw.normal(size=columns)
            w -= V[: j + 1].T @ (V[: j + 1] @ w)
            beta[j] = 0.0
            continue
        if exhausted or j + 1 == most or (j + 1 >= k and j % _LOOK == _LOOK - 1):
            T = np.diag(alpha[: j + 1]) + np.diag(beta[:j], 1) + np.diag(beta[:j], -1)
            theta, S = np.linalg.eigh(T)
            theta, S = theta[::-1][:k], S[:, ::-1][:, :k]
            small = beta[j] * np.abs(S[-1]) <= 2 * tolerance * np.maximum(theta, 1e-14 * theta[0])
            if exhausted or small.all() or j + 1 == most:
                return V[: j + 1].T @ S, j + 1
    raise AssertionError("the last step returns")


def _refined(matrix: Matrix, right: Array, scale: float, sumsq: float, steps: int) -> Leading:
    """Return values, vectors and residuals of the space that was found, in float64."""
    V = np.linalg.qr(right)[0]
    Y = np.concatenate([matrix.read(*run) @ V for run in runs(matrix)]) / scale
    U, values, Q = np.linalg.svd(Y, full_matrices=False)
    V = V @ Q.T
    Z = np.zeros_like(V)
    for start, stop in runs(matrix):
        Z += matrix.read(start, stop).T @ (U[start:stop] / scale)
    residuals = np.linalg.norm(Z - V * values, axis=0) * values
    share = np.divide(residuals, values**2, out=np.zeros_like(values), where=values > 0)
    bound = 1 - np.sqrt(np.clip(1 - share, 0.0, 1.0))
    return Leading(values * scale, np.where(values > 0, U, 0.0), V, bound, sumsq, steps)
