"""Base and change side by side, a strip of entries at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.deltas.recipes import Recipe
from ftdiff.tensors import DTYPES, Array, LazyTensor, matrix_shape, numel

#: Entries of a strip, or one row where a row has more.
_STRIP = 1 << 18


def strips(recipe: Recipe, base: LazyTensor) -> Iterator[tuple[Array, Array]]:
    """Yield W and ΔW, both flat and in float64, of rows that make a strip."""
    size = numel(recipe.shape)
    if not size:
        return
    columns = matrix_shape(recipe.shape)[1]
    step = max(1, _STRIP // columns) * columns
    read = recipe.entries(base)
    for start in range(0, size, step):
        stop = min(start + step, size)
        with base.window(start, stop) as stored:
            W = stored.astype(np.float64)
        yield W, read(start, stop)


def rounded(values: Array, dtype: str) -> Array:
    """Return float64 values as a storage dtype keeps them, in float64 again."""
    return values.astype(DTYPES[dtype]).astype(np.float64)


def is_float(dtype: str) -> bool:
    """Say whether a dtype rounds: integers and unknown dtypes do not."""
    held = DTYPES.get(dtype)
    return held is not None and held.kind not in "biu"
