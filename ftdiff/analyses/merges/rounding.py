"""What a stored number stands for: its spacing, and the values that are rounded to it."""

from __future__ import annotations

import numpy as np

from ftdiff.tensors import DTYPES, Array, precision

#: The dtypes in which a merge is judged.
FLOATS = ("F64", "F32", "F16", "BF16")


def spacing(values: Array, dtype: str) -> Array:
    """Return the spacing of a dtype's numbers at these values, float64.

    >>> spacing(np.array([1.0, 1.5, 2.0, 0.0]), "F16").tolist()
    [0.0009765625, 0.0009765625, 0.001953125, 5.960464477539063e-08]
    """
    facts = precision(dtype)
    assert facts is not None
    eps, least = facts
    _, exponent = np.frexp(values)
    exponent = np.where(values == 0, least, np.maximum(exponent - 1, least))
    return np.ldexp(eps, exponent)


def bounds(values: Array, dtype: str) -> tuple[Array, Array]:
    """Return the least and the greatest number that is rounded to each of these.

    Below a power of two the numbers are twice as dense.

    >>> [bound.tolist() for bound in bounds(np.array([1.0]), "BF16")]
    [[0.998046875], [1.00390625]]
    """
    half = spacing(values, dtype) / 2
    fraction, _ = np.frexp(values)
    facts = precision(dtype)
    assert facts is not None
    dense = (np.abs(fraction) == 0.5) & (np.abs(values) > 2.0 ** facts[1])
    inner = np.where(dense, half / 2, half)
    positive = values > 0
    return (
        values - np.where(positive, inner, half),
        values + np.where(positive | (values == 0), half, inner),
    )


def rounded(values: Array, dtype: str) -> Array:
    """Round to a dtype, and return that in the dtype in which it was computed."""
    return values.astype(DTYPES[dtype]).astype(values.dtype)
