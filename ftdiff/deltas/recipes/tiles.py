"""Cutting by position: runs of entries, or of whole rows, that depend on nothing but the shape."""

from __future__ import annotations

from ftdiff import kernels
from ftdiff.deltas.moments import NULL, Moments
from ftdiff.deltas.off_grid import off_grid
from ftdiff.tensors import Array, precision

#: Entries of a tile: four blocks of the fused loop, and a float32 ΔW of it fits a core's cache.
TILE = 4 * kernels.BLOCK


def rows_per_tile(columns: int) -> int:
    """Return how many whole rows make a tile; at least one."""
    return max(1, TILE // max(1, columns))


def count(size: int, step: int) -> int:
    """Return how many tiles of `step` cover `size`; one for nothing."""
    return max(1, -(-size // step))


def span(tiles: range | None, step: int, size: int) -> tuple[int, int]:
    """Return the first and last position of a range of tiles; of all for None."""
    if tiles is None:
        return 0, size
    return min(tiles.start * step, size), min(tiles.stop * step, size)


def enclosing(start: int, stop: int, columns: int) -> tuple[int, int]:
    """Return the first and last row that hold entries `start` to `stop`.

    >>> enclosing(5, 21, 10)
    (0, 3)
    """
    width = max(1, columns)
    return start // width, count(stop, width) if stop else 0


def replaced(W: Array, tuned: Array, base_dtype: str, tuned_dtype: str) -> Moments:
    """Measure a tile from both sides' stored values, flat."""
    sums = kernels.sums(W, tuned, base_dtype, tuned_dtype)
    return _moments(sums, W.size, tuned_dtype, off_grid(W, base_dtype, tuned_dtype, kernels.BLOCK))


def replaced_each(
    W: Array, tuned: Array, base_dtype: str, tuned_dtype: str, size: int
) -> list[Moments]:
    """Measure tensors of so many entries each, no more than a block's, that lie one by one."""
    floats, counts = kernels.sums(W, tuned, base_dtype, tuned_dtype, block=size)
    off = off_grid(W, base_dtype, tuned_dtype, size)
    facts = precision(tuned_dtype)
    found = Moments.of_rows(size, floats, counts, facts[0] if facts else 1.0, off)
    return found if facts else [one.without("ulp_sq", NULL) for one in found]


def added(W: Array, dW: Array, dtype: str, delta_dtype: str = "F32") -> Moments:
    """Measure a tile: W flat and as stored, and its change; both of `dtype` if merged."""
    facts = precision(dtype)
    least = facts[1] if facts else 0
    sums = kernels.sums(W, dW.reshape(-1), dtype, delta_dtype, delta=True, least_exponent=least)
    return _moments(sums, W.size, dtype)


def blocks(values: Array) -> list[float]:
    """Return the sums of values from the start of a tile, one for each block of the fused loop."""
    starts = range(0, values.size, kernels.BLOCK)
    return [float(values[at : at + kernels.BLOCK].sum()) for at in starts]


def alone(tuned: Array, dtype: str) -> Moments:
    """Measure a tile of the tuned values where there is no base."""
    moments = _moments(kernels.sums(None, tuned, "", dtype), tuned.size, dtype)
    return moments.only("tuned_sq", "nonfinite_tuned")


def change(dW: Array, dtype: str) -> Moments:
    """Measure a tile of a stored change where there is no base."""
    moments = _moments(kernels.sums(dW, None, dtype, ""), dW.size, dtype)
    return Moments(
        dW.size,
        {"delta_sq": moments.sums["base_sq"], "delta_abs": moments.sums["base_abs"]},
        counts={"nonfinite_tuned": moments.counts["nonfinite_base"]},
    )


def _moments(sums: tuple[Array, Array], size: int, dtype: str, off: Array | None = None) -> Moments:
    facts = precision(dtype)
    moments = Moments.of_blocks(size, *sums, ulp=facts[0] if facts else 1.0, off=off)
    if facts is None:  # whole numbers are not rounded
        return moments.without("ulp_sq", NULL)
    return moments
