"""All inner products of many changes of one tensor, in one reading of each file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.kernels import driver, tile_products
from ftdiff.kernels.fused import checked
from ftdiff.kernels.jit import Target, host
from ftdiff.kernels.readers import TILE, Reader
from ftdiff.kernels.storage import INTEGER, SMALL, WIDE, itemsize
from ftdiff.kernels.tile_products import Workspace
from ftdiff.tensors import Array

#: Entries of which each row of the result holds the products.
ROW = 1 << 18
#: Dtypes that are held exactly, or closely enough, in float32; bits of zero are a zero.
CHANGED = frozenset({*SMALL, *INTEGER, "BF16", "F32"} - WIDE)


@dataclass(frozen=True)
class Stored:
    """One fine-tune's entries.

    Attributes
    ----------
    entries
        As stored: one-dimensional, contiguous, of the dtype's item size.
    dtype
        What the bits mean: a safetensors code of `CHANGED`.
    delta
        They are changes, not tuned values.
    """

    entries: Array
    dtype: str
    delta: bool = False


def change_products(
    base: Array | None,
    base_dtype: str,
    tuned: Sequence[Stored],
    *,
    target: Target | None = None,
) -> tuple[Array, Array]:
    """Return ⟨ΔWᵢ, ΔWⱼ⟩ of all pairs, a row for each `ROW` entries.

    Parameters
    ----------
    base, base_dtype
        The base's entries and what their bits mean; None where all hold changes.
    tuned
        n fine-tunes' entries, as many as the base's.
    target
        The processor to compile for, this one if not given; no bit depends on it.

    Returns
    -------
    products
        float64, rows × n × n, symmetric.
    nonfinite
        int64, n: changes that are not finite; they count as zero.

    Raises
    ------
    BadCall
        A dtype that is not among `CHANGED`, or arrays that do not fit each other or their dtype.

    Notes
    -----
    Rows count from the first entry given; the last may be shorter. Changes are taken in float32,
    as exact as these are; products and sums in float64, which no float32 overflows.

    >>> import numpy as np
    >>> W, A, B = np.float32([[1, 2], [2, 2], [1, 5]])
    >>> products, nonfinite = change_products(W, "F32", [Stored(A, "F32"), Stored(B, "F32")])
    >>> products.tolist(), nonfinite.tolist()
    ([[[1.0, 0.0], [0.0, 9.0]]], [0, 0])
    """
    target = target or host()
    parts = [] if base is None else [Stored(base, base_dtype, delta=True)]
    parts += tuned
    size, n = _checked(parts, len(tuned)), len(tuned)
    if not (size and n):
        return np.zeros((-(-size // ROW), n, n)), np.zeros(n, np.int64)
    schedule = tile_products.triangle(n, target)
    space = Workspace(n, schedule.sums)
    ends = [_end(part.entries, size) for part in parts]
    readings = np.zeros((len(parts), driver.READING), np.int64)
    for k, part in enumerate(parts):
        row = k - (len(parts) - n)
        role = "base" if row < 0 else "delta" if part.delta else "tuned"
        readings[k] = (
            tile_products.reading(Reader(part.dtype, role, target.half, target.fused), target),
            part.entries.ctypes.data, TILE * itemsize(part.dtype),
            space.at("tile", row), space.at("lost", row), ends[k].ctypes.data,
        )  # fmt: skip
    tiles = (-(-size // TILE), size // TILE, ROW // TILE)
    sums = tile_products.run(readings, schedule, space, tiles, target)
    return sums[:, schedule.places], space.lost()


def _end(entries: Array, size: int) -> Array:
    """Return the last tile, zeros after its end, where it is not whole."""
    found = np.zeros(TILE if size % TILE else 0, entries.dtype)
    found[: size % TILE] = entries[size - size % TILE :]
    return found


def _checked(parts: Sequence[Stored], n: int) -> int:
    """Return how many entries all of them have."""
    if len(parts) == n and not all(part.delta for part in parts):
        raise BadCall("change_products: tuned values without a base have no change; give the base")
    for part in parts:
        if part.dtype not in CHANGED:
            raise BadCall(
                f"change_products: dtype {part.dtype}; one of {', '.join(sorted(CHANGED))}"
            )
        checked(part.entries, part.dtype, "change_products")
    sizes = {part.entries.size for part in parts}
    if len(sizes) > 1:
        raise BadCall(
            f"change_products: {min(sizes)} entries against {max(sizes)}; give as many of each"
        )
    return max(sizes, default=0)
