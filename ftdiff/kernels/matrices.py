"""Products of thin matrices whose bits depend on nothing but their entries.

Each entry of a result is one chain of additions in a fixed order. Tiles only decide what is
loaded once for several chains, so a tile may lie over its neighbour where rows or columns do not
divide: it stores the same bits again.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.kernels import stacks
from ftdiff.kernels.jit import Target, function, host
from ftdiff.kernels.lanes import LANES
from ftdiff.kernels.tiles import gram_tiles, product_tiles
from ftdiff.tensors import Array

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


def product(
    B: Array,
    A: Array,
    out: Array | None = None,
    *,
    scale: float = 1.0,
    target: Target | None = None,
) -> Array:
    """Return scale · B A in float32: each entry a chain of fused multiply-adds in order of k.

    Parameters
    ----------
    B, A
        float32, m × r and r × n; rows contiguous, at any distance from each other. The inner
        dimension r is meant to be small.
    out
        float32, m × n, written to; rows contiguous. Must not overlap B or A. New if not given.
    scale
        Rounded to float32; multiplies each finished sum.
    target
        The processor to compile for, this one if not given; no bit depends on it.

    Raises
    ------
    BadCall
        Shapes or dtypes do not fit.

    Notes
    -----
    The same bits on any machine, and for any cut of B into rows or of A into columns.

    >>> product(np.float32([[1, 2], [3, 4]]), np.float32([[1, 0], [1, 1]])).tolist()
    [[3.0, 2.0], [7.0, 4.0]]
    """
    if B.ndim != 2 or A.ndim != 2 or B.shape[1] != A.shape[0]:
        raise BadCall(f"product: {B.shape} times {A.shape} does not fit; give m × r and r × n")
    target = target or host()
    m, n, r = B.shape[0], A.shape[1], B.shape[1]
    if out is None:
        out = np.empty((m, n), np.float32)
    if out.shape != (m, n):
        raise BadCall(f"product: out is {out.shape}, not {(m, n)}")
    for name, matrix in (("B", B), ("A", A), ("out", out)):
        _check_rows(name, matrix, (np.float32,))
    if not (m and n and r):
        out[...] = 0.0
    elif n < LANES:
        wide = np.zeros((r, LANES), np.float32)
        wide[:, :n] = A
        out[...] = product(B, wide, scale=scale, target=target)[:, :n]
    else:
        rows = 8 if m >= 8 and target.fused else 1
        vectors = 2 if n >= 2 * LANES and target.fused else 1
        arguments = (*(_POINTER, _LONG) * 3, *(_LONG,) * 3, ctypes.c_float)
        run = function(
            ("product", rows, vectors),
            target,
            "product",
            arguments,
            lambda: product_tiles(rows, vectors, target.fused),
        )
        run(*_placed(B), *_placed(A), *_placed(out), m, n, r, scale)
    return out


def gram(X: Array, Y: Array | None = None, *, target: Target | None = None) -> Array:
    """Return X Yᵀ (X Xᵀ if no Y is given) in float64.

    Parameters
    ----------
    X, Y
        float32 or float64, both the same: r × n and s × n, rows contiguous.
    target
        The processor to compile for, this one if not given; no bit depends on it.

    Returns
    -------
    array
        float64, r × s. Exactly symmetric without Y.

    Raises
    ------
    BadCall
        Shapes or dtypes do not fit.

    Notes
    -----
    Each entry is summed in eight float64 lanes, which are added in their order: the same bits on
    any machine. Products of float32 entries are exact.

    >>> gram(np.float32([[1, 2], [3, 4]])).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """
    target = target or host()
    other = X if Y is None else Y
    if X.ndim != 2 or other.ndim != 2 or X.shape[1] != other.shape[1] or X.dtype != other.dtype:
        raise BadCall(
            f"gram: {X.dtype} {X.shape} and {other.dtype} {other.shape} do not fit; "
            "give rows of one length and dtype"
        )
    for name, matrix in (("X", X), ("Y", other)):
        _check_rows(name, matrix, (np.float32, np.float64))
    out = np.zeros((X.shape[0], other.shape[0]))
    if not out.size or not X.shape[1]:
        return out
    symmetric = Y is None
    if X.dtype == np.float32 and out.size * X.shape[1] >= stacks.LEAST:
        return stacks.stacked_gram([X], None if symmetric else [other], target=target)
    rows = 4 if min(out.shape) >= 4 else 1
    scalar = "float" if X.dtype == np.float32 else "double"
    run = function(
        ("gram", scalar, rows),
        target,
        "gram",
        (*(_POINTER, _LONG) * 3, *(_LONG,) * 4),
        lambda: gram_tiles(scalar, rows, target.fused),
    )
    run(*_placed(X), *_placed(other), *_placed(out), *out.shape, X.shape[1], symmetric)
    return np.triu(out) + np.triu(out, 1).T if symmetric else out


def _check_rows(name: str, matrix: Array, dtypes: tuple[type, ...]) -> None:
    if matrix.dtype not in dtypes or not matrix.dtype.isnative:
        raise BadCall(f"{name}: {matrix.dtype}, not {' or '.join(d.__name__ for d in dtypes)}")
    if not matrix.size:
        return
    if matrix.shape[1] > 1 and matrix.strides[1] != matrix.itemsize:
        raise BadCall(f"{name}: its rows are not contiguous; copy it first")
    if matrix.strides[0] % matrix.itemsize:
        raise BadCall(f"{name}: its rows do not start at whole entries; copy it first")


def _placed(matrix: Array) -> tuple[int, int]:
    """Return where a matrix is, and how many entries its rows are apart."""
    return matrix.ctypes.data, matrix.strides[0] // matrix.itemsize
