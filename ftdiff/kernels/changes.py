"""All inner products of many changes of one tensor, in one reading of each file."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.kernels import driver, panels, readers
from ftdiff.kernels.fused import checked
from ftdiff.kernels.jit import Target, address, function, host
from ftdiff.kernels.lanes import LANES
from ftdiff.kernels.panels import WIDTH, Panels
from ftdiff.kernels.readers import TILE, Reader
from ftdiff.kernels.storage import INTEGER, SMALL, WIDE, itemsize
from ftdiff.tensors import Array

#: Entries of which each row of the result holds the products.
ROW = 1 << 18
#: Dtypes that are held exactly, or closely enough, in float32; bits of zero are a zero.
CHANGED = frozenset({*SMALL, *INTEGER, "BF16", "F32"} - WIDE)

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS = (*(_POINTER, _LONG) * 3, *(_POINTER,) * 2, *(_LONG,) * 3)
#: Bytes of a decoded tile, of sixteen counts, of a sum's lanes, and of a line of a cache.
_TILE, _LOST, _LANES, _LINE = 8 * TILE, 4 * LANES, 8 * WIDTH, 64


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
    rows, tiles = -(-size // ROW), -(-size // TILE)
    found = np.zeros((rows, n, n))
    if not found.size:
        return found, np.zeros(n, np.int64)
    schedule = _schedule(n, target)
    space = _Space(n, len(schedule.pairs))
    ends = [_end(part.entries, size) for part in parts]
    readings = np.zeros((len(parts), driver.READING), np.int64)
    for k, part in enumerate(parts):
        row = k - (len(parts) - n)
        role = "base" if row < 0 else "delta" if part.delta else "tuned"
        reader = Reader(part.dtype, role, target.half, target.fused)
        readings[k] = (
            address(reader, target, "read", partial(readers.assembly, reader)),
            part.entries.ctypes.data, TILE * itemsize(part.dtype),
            space.at("tile", row), space.at("lost", row), ends[k].ctypes.data,
        )  # fmt: skip
    tiles_at, lanes_at = space.at("tile", 0), space.at("lanes", 0)
    calls = schedule.calls + np.array([0, tiles_at, tiles_at, lanes_at])
    sums = np.zeros((rows, len(schedule.pairs)))
    run = function("changes", target, "changes", _ARGUMENTS, driver.assembly)
    run(
        readings.ctypes.data, len(parts), calls.ctypes.data, len(calls),
        lanes_at, len(schedule.pairs), space.at("tile", -1), sums.ctypes.data,
        tiles, size // TILE, ROW // TILE,
    )  # fmt: skip
    i, j = schedule.pairs.T
    found[:, i, j] = found[:, j, i] = sums
    return found, space.lost()


@dataclass(frozen=True, eq=False)
class _Schedule:
    """The products of a tile: where each one's code is and its offsets, and the pairs it gives."""

    calls: Array
    pairs: Array


@lru_cache(maxsize=64)
def _schedule(n: int, target: Target) -> _Schedule:
    most = panels.most_rows(target)
    calls: list[tuple[int, ...]] = []
    pairs: list[tuple[int, int]] = []
    starts = range(0, n, most)
    for first in starts:
        for second in starts[: first // most + 1]:
            shape = Panels(
                min(most, n - second), min(most, n - first), first == second,
                target.lanes // 2, target.fused,
            )  # fmt: skip
            code = address(shape, target, "multiply", partial(panels.assembly, shape))
            calls.append((code, second * _TILE, first * _TILE, len(pairs) * _LANES))
            pairs += [(second + i, first + j) for i, j in shape.pairs]
    return _Schedule(np.array(calls, np.int64), np.array(pairs))


class _Space:
    """What a call writes to on the way; small enough to stay in a core's own caches."""

    def __init__(self, n: int, pairs: int) -> None:
        self._each = {"tile": _TILE, "lost": _LOST, "lanes": _LANES}
        counts = {"tile": n + 1, "lost": n + 1, "lanes": pairs}
        sizes = {name: self._each[name] * count for name, count in counts.items()}
        self._held = np.zeros(sum(sizes.values()) + _LINE, np.uint8)
        start = -self._held.ctypes.data % _LINE
        self._at: dict[str, int] = {}
        for name, size in sizes.items():
            self._at[name] = start
            start += size
        self._n = n

    def at(self, name: str, row: int) -> int:
        """Return the address of a fine-tune's part, or of the base's: row -1."""
        row += name != "lanes"  # the base's comes first
        start: int = self._held.ctypes.data
        return start + self._at[name] + row * self._each[name]

    def lost(self) -> Array:
        """Return how many changes of each were not finite."""
        start = self._at["lost"] + _LOST
        held = self._held[start : start + self._n * _LOST].view(np.int32)
        return np.asarray(held.reshape(self._n, LANES).sum(axis=1, dtype=np.int64))


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
