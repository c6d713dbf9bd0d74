"""Where rounding alone would change a base: its values lie between those of the tuned side's dtype.

What two sides of one dtype store is on that dtype's grid: a value that did not move is rounded to
itself, so rounding alone changes nothing. A float32 file that was saved from bfloat16 is on
bfloat16's grid as well.
"""

from __future__ import annotations

import numpy as np

from ftdiff.tensors import DTYPES, Array

#: Entries of a block that are looked at, in so many runs.
_SAMPLE, _RUNS = 64, 4
#: A block is off the grid where more of its entries are, zeros aside; of random values all but
#: few are, from float16 to bfloat16 seven of eight.
_SHARE = 0.1


def off_grid(W: Array, base_dtype: str, tuned_dtype: str, block: int) -> Array:
    """Say of each block of `W`, flat and as stored, whether rounding to the tuned dtype changes it.

    Entries are looked at by their place in the block alone, so that no bit depends on how many
    blocks are given at a time.

    >>> W = np.float32([1, 1.5, 1.001, 1.003])
    >>> off_grid(W, "F32", "BF16", 2)
    array([False,  True])
    """
    count = -(-W.size // block)
    held = DTYPES.get(tuned_dtype)
    if base_dtype == tuned_dtype or held is None:
        return np.zeros(count, bool)
    base = DTYPES.get(base_dtype)
    sides = W if base is None or W.dtype == base else W.view(base)
    whole = W.size // block
    found = _off(sides[: whole * block].reshape(whole, block), held)
    if whole < count:
        found = np.append(found, _off(sides[whole * block :].reshape(1, -1), held))
    return found


def _off(blocks: Array, dtype: np.dtype[np.generic]) -> Array:
    size = blocks.shape[1]
    run = _SAMPLE // _RUNS
    starts = [size * i // _RUNS for i in range(_RUNS)] if size > _SAMPLE else [0]
    length = run if size > _SAMPLE else size
    with np.errstate(all="ignore"):
        entries = np.concatenate([blocks[:, at : at + length] for at in starts], axis=1)
        exact = entries.astype(np.float64)
        exact[~np.isfinite(exact)] = 0.0
        rounded = exact.astype(dtype).astype(np.float64)
    off = (rounded != exact).sum(axis=1)
    found: Array = off > _SHARE * (exact != 0).sum(axis=1)
    return found
