"""A matrix with its rows as columns, sixteen by sixteen entries at a time."""

from __future__ import annotations

import ctypes
from functools import partial

import numpy as np

from ftdiff.kernels.jit import Target, function, host
from ftdiff.kernels.lanes import LANES, Body, lanes
from ftdiff.tensors import Array

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


def transposed(M: Array, out: Array | None = None, *, target: Target | None = None) -> Array:
    """Return a contiguous copy of Mᵀ.

    Parameters
    ----------
    M
        Of entries of two or four bytes, rows contiguous.
    out
        Where it is written; contiguous, and new if not given.
    target
        The processor to compile for, this one if not given.

    >>> transposed(np.float32([[1, 2, 3], [4, 5, 6]])).tolist()
    [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    """
    rows, columns = (side - side % LANES for side in M.shape)
    if out is None:
        out = np.empty(M.shape[::-1], M.dtype)
    contiguous = M.strides[1] == M.itemsize and M.strides[0] % M.itemsize == 0
    if not (rows and columns and contiguous):
        out[...] = M.T
        return out
    scalar = {2: "i16", 4: "i32"}[M.itemsize]
    run = function(
        ("transpose", scalar), target or host(), "transpose", (_POINTER, _LONG) * 3,
        partial(_assembly, scalar),
    )  # fmt: skip
    run(
        M.ctypes.data, M.strides[0] // M.itemsize, out.ctypes.data, out.shape[1], rows, columns
    )  # fmt: skip
    out[columns:, :] = M[:, columns:].T
    out[:columns, rows:] = M[rows:, :columns].T
    return out


def _assembly(scalar: str) -> str:
    body, vector = Body(), lanes(scalar)
    lines = []
    for i in range(LANES):
        row = body.put(f"add i64 %i, {i}")
        start = body.put(f"mul i64 {row}, %ld")
        start = body.put(f"add i64 {start}, %j")
        lines.append(body.load(vector, "%M", scalar, start, align=1))
    distance = LANES // 2
    while distance:
        lines = _exchanged(body, vector, lines, distance)
        distance //= 2
    for j, line in enumerate(lines):
        row = body.put(f"add i64 %j, {j}")
        start = body.put(f"mul i64 {row}, %ldo")
        start = body.put(f"add i64 {start}, %i")
        at = body.put(f"getelementptr {scalar}, ptr %out, i64 {start}")
        body.do(f"store {vector} {line}, ptr {at}, align 1")
    return _TRANSPOSE.format(body=body.text(), lanes=LANES)


def _exchanged(body: Body, vector: str, lines: list[str], distance: int) -> list[str]:
    """Exchange the off-diagonal blocks of this size: of each two lines that are so far apart."""
    found = [*lines]
    upper = [k if not k & distance else LANES + k - distance for k in range(LANES)]
    lower = [k + distance if not k & distance else LANES + k for k in range(LANES)]
    for k in range(LANES):
        if k & distance:
            continue
        pair = f"{vector} {lines[k]}, {vector} {lines[k + distance]}"
        for at, order in ((k, upper), (k + distance, lower)):
            mask = ", ".join(f"i32 {place}" for place in order)
            found[at] = body.put(f"shufflevector {pair}, {lanes('i32')} <{mask}>")
    return found


_TRANSPOSE = """
define void @transpose(ptr %M, i64 %ld, ptr %out, i64 %ldo, i64 %rows, i64 %columns) {{
entry:
  br label %down
down:
  %i = phi i64 [ 0, %entry ], [ %i.next, %below ]
  br label %right
right:
  %j = phi i64 [ 0, %down ], [ %j.next, %right ]
{body}
  %j.next = add i64 %j, {lanes}
  %j.more = icmp ult i64 %j.next, %columns
  br i1 %j.more, label %right, label %below
below:
  %i.next = add i64 %i, {lanes}
  %i.more = icmp ult i64 %i.next, %rows
  br i1 %i.more, label %down, label %end
end:
  ret void
}}
"""
