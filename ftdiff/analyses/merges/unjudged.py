"""Tensors that are not judged: quantised ones, and buffers of whole numbers, which are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftdiff.analyses.merges.rounding import FLOATS
from ftdiff.analyses.merges.sides import Sides
from ftdiff.tensors import DTYPES, LazyTensor, is_quantised, stored_as


def unfit(merged: LazyTensor, sides: Sequence[LazyTensor]) -> str:
    """Say why a tensor is not judged; nothing where it is."""
    for tensor in (merged, *sides):
        if is_quantised(tensor):
            return f"stored as {stored_as(tensor)}: its grid is none of a merge"
        if tensor.dtype not in FLOATS:
            return f"stored as {tensor.dtype}: no weights of a merge"
    return ""


def same(merged: LazyTensor, sides: Sequence[LazyTensor]) -> bool:
    """Say whether a tensor of whole numbers, as buffers are, is one and the same everywhere."""
    every = (merged, *sides)
    if any(is_quantised(one) or one.dtype not in DTYPES or one.dtype in FLOATS for one in every):
        return False
    return all(
        np.array_equal(window.merged, side)
        for window in Sides(merged, sides).parts()
        for side in window.sides
    )
