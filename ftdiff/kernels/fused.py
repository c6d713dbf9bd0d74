"""From arrays as stored to their sums, a row per block."""

from __future__ import annotations

import ctypes

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.kernels.blocks import BLOCK, assembly
from ftdiff.kernels.jit import Target, function, host
from ftdiff.kernels.operands import COUNTS, SUMS, Operands, floored
from ftdiff.kernels.storage import LEAST_EXPONENT, itemsize
from ftdiff.tensors import Array

_POINTER = ctypes.c_void_p
_LONG = ctypes.c_int64
_ARGUMENTS = (_POINTER, _POINTER, _LONG, _LONG, ctypes.c_double, _POINTER, _POINTER)


def sums(
    base: Array | None,
    tuned: Array | None,
    base_dtype: str = "",
    tuned_dtype: str = "",
    *,
    delta: bool = False,
    least_exponent: int | None = None,
    block: int = BLOCK,
    target: Target | None = None,
) -> tuple[Array, Array]:
    """Return every sum of two tensors, or of one, in a single reading.

    Parameters
    ----------
    base, tuned
        The entries as stored: one-dimensional, contiguous, any NumPy dtype of the right item
        size, of the same length. None for an operand that is absent.
    base_dtype, tuned_dtype
        What the bits mean: safetensors' codes. Any two may be mixed.
    delta
        `tuned` holds changes: tuned values are base + change, in the computing type.
    least_exponent
        That of the smallest normal number of the dtype whose spacing `power_sq` is for; of
        `tuned_dtype` if not given.
    block
        Entries of which each row of the result holds the sums: a matrix's columns, for the sums
        of its rows.
    target
        The processor to compile for, this one if not given; no bit depends on it.

    Returns
    -------
    sums
        float64, blocks × 8: Σw², Σ(w + Δ)², ΣΔ², Σw·Δ, Σ|w|, Σ|Δ|, Σ max(2^⌊log₂|w + Δ|⌋,
        2^least)², max|Δ|. Zero for what is absent.
    counts
        int64, blocks × 4: unequal entries, sign flips, entries of base that are not finite,
        entries of tuned that are not finite.

    Raises
    ------
    BadCall
        A dtype that is not known, or arrays that do not fit each other or their dtype.

    Notes
    -----
    Blocks count from the first entry given; the last may be shorter. Entries that are not finite on
    either side are left out of every sum, the maximum and the sign flips. `unequal` compares
    numbers: +0 equals -0, NaN equals NaN and nothing else. With `delta` it counts changes that
    are not zero.

    Float32 and narrower are computed in float32 lanes that are added to float64 every 16 steps,
    wider ones in float64. Sums of float32 entries are usually right to 1e-8; where all entries are
    the same, and round alike, to 2.5e-7. Sums of finite float64 entries may overflow.

    >>> s, c = sums(np.float32([3, -4]), np.float32([3, 4]), "F32", "F32")
    >>> s[0].tolist()
    [25.0, 25.0, 64.0, -32.0, 7.0, 8.0, 20.0, 8.0]
    >>> c[0].tolist()
    [1, 1, 0, 0]
    """
    present = [
        checked(array, dtype, name)
        for array, dtype, name in ((base, base_dtype, "base"), (tuned, tuned_dtype, "tuned"))
        if array is not None
    ]
    if not present:
        raise BadCall("sums: neither a base nor a tuned tensor; give at least one")
    if present[0].size != present[-1].size:
        raise BadCall(
            f"sums: {present[0].size} entries against {present[-1].size}; give as many of each"
        )
    first, second = (base_dtype if base is not None else ""), tuned_dtype
    if tuned is None:
        second = ""
    if least_exponent is None:
        least_exponent = LEAST_EXPONENT[second or first]
    if block < 1:
        raise BadCall(f"sums: blocks of {block} entries; give at least one")
    size = present[0].size
    blocks = -(-size // block)
    totals = np.zeros((blocks, len(SUMS) + 1))
    counts = np.zeros((blocks, len(COUNTS)), np.int64)
    target = target or host()
    operands = Operands(
        first,
        second,
        delta and tuned is not None,
        floored(first, second, least_exponent),
        target.half,
        target.fused,
    )
    loop = function(operands, target, "sums", _ARGUMENTS, lambda: assembly(operands))
    loop(
        present[0].ctypes.data,
        present[-1].ctypes.data,
        size,
        block,
        2.0**least_exponent,
        totals.ctypes.data,
        counts.ctypes.data,
    )
    return totals, counts


def checked(array: Array, dtype: str, name: str) -> Array:
    """Return the array, if it is one contiguous row of what the dtype's bits fit in."""
    if array.dtype.itemsize != itemsize(dtype):
        raise BadCall(f"{name}: {array.dtype} does not hold the bits of {dtype}")
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise BadCall(f"{name}: shape {array.shape} is not one contiguous row; ravel it")
    return array
