"""What one pass over base and merged file counts where both are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ftdiff.analyses.verification.replay import ulps
from ftdiff.deltas.moments import Moments
from ftdiff.tensors import DTYPES, Array, LazyTensor, numel

#: Entries read at a time: a dozen arrays of this length fit a core's cache.
RUN = 1 << 16


def compare_stored(expected: LazyTensor, base: LazyTensor | None, merged: LazyTensor) -> Moments:
    """Count where the merged values are not those of another tensor, rounded to their dtype.

    Returns
    -------
    Moments
        Counts `unequal` (to `expected`) and `moved` (from `base`; absent without one), and the
        largest distance in `ulps` where both are floats.
    """
    total = Moments()
    size = numel(merged.shape)
    for start in range(0, size, RUN):
        stop = min(start + RUN, size)
        with merged.window(start, stop) as M:
            counts = {}
            with _cast(expected, start, stop, merged.dtype) as E:
                wrong = differ(E, M)
                counts["unequal"] = int(wrong.sum())
                top = _distance(E[wrong], M[wrong], merged.dtype)
            if base is not None:
                with _cast(base, start, stop, merged.dtype) as W:
                    counts["moved"] = int(differ(W, M).sum())
            total += Moments(stop - start, tops={"ulps": top}, counts=counts)
    return total


@contextmanager
def _cast(tensor: LazyTensor, start: int, stop: int, dtype: str) -> Iterator[Array]:
    with tensor.window(start, stop) as values, np.errstate(all="ignore"):
        yield values if tensor.dtype == dtype else values.astype(DTYPES[dtype])


def differ(a: Array, b: Array) -> Array:
    """Return where two arrays of one dtype have other bits; one NaN is as good as another."""
    bits = np.dtype(f"u{a.dtype.itemsize}")
    unlike: Array = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    if a.dtype.kind not in "biu" and unlike.any():
        unlike &= ~(np.isnan(a) & np.isnan(b))
    return unlike


def _distance(E: Array, M: Array, dtype: str) -> float:
    """Return the largest distance in ulps; of whole numbers, the difference itself."""
    if not E.size:
        return 0.0
    a, b = E.astype(np.float64), M.astype(np.float64)
    with np.errstate(all="ignore"):
        off = b - a
        if E.dtype.kind in "biu":
            return float(np.abs(off).max())
        found = ulps(off, np.maximum(np.abs(a), np.abs(b)), dtype)
    return float(np.where(np.isfinite(found), found, np.inf).max())
