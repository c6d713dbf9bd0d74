"""Whether tuned values are the base's, rounded to few bits: NF4, FP4, int4, int8 or fp8.

A merge onto a dequantised base leaves every tensor that it did not train on that grid. Codes follow
from the base alone; the scale of each block is fitted, since tools round scales as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import DTYPES, Array, LazyTensor, matrix_shape, numel, precision

#: The levels of bitsandbytes' four bits.
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
_FP4 = (-1.0, -2 / 3, -0.5, -1 / 3, -0.25, -1 / 6, -1 / 192, 0.0, 1 / 192, 1 / 6, 0.25, 1 / 3,
        0.5, 2 / 3, 1.0)  # fmt: skip
#: The highest level of whole numbers that are symmetric about zero.
_WHOLE = {"INT4": 7, "INT8": 127}
#: Entries that are looked at to tell the grid, in so many places; and read at a time.
_SAMPLE, _PLACES, _RUN = 1 << 12, 4, 1 << 16
#: Values are off the grid beyond this share of a spacing: half of one, and what the fit is off by.
_OFF = 0.75
#: Of values that are on a grid, so many may have another code: ties, in another dtype.
_TIES = 2e-3
#: Values this near to halfway between two levels, relative to them, may be rounded to either.
_HALFWAY = 2.0**-20
#: A run of which a larger share is off the grid is of no tensor on it.
_FAR = 0.1
#: Rounding to few bits changes a tensor by at least this much; less is another story.
_LEAST = 1e-3

#: How many levels a scale has, at most, by scheme; entries that are looked at to count them.
_LEVELS = {"NF4": 16, "FP4": 16, "INT4": 16, "INT8": 256, "F8_E4M3": 256}
_COUNTED = 1 << 12

#: Returns entries of a change that was added onto the grid.
Entries = Callable[[int, int], Array]


@dataclass(frozen=True)
class Grid:
    """A way to round a weight to few bits.

    Attributes
    ----------
    scheme
        NF4, FP4, INT4, INT8 or F8_E4M3.
    block
        Entries that share a scale; 0 for those of a row.
    """

    scheme: str
    block: int

    @property
    def said(self) -> str:
        """The grid in words.

        >>> Grid("NF4", 64).said
        'NF4 in blocks of 64'
        """
        return f"{self.scheme} " + (f"in blocks of {self.block}" if self.block else "by rows")

    def levels(self, W: Array, factor: float = 1.0) -> Array:
        """Return what blocks (blocks × entries) are rounded to, in units of their scale.

        With a factor beside 1, what they are rounded to where halfway goes to its other side.
        """
        top = np.abs(W).max(axis=1, keepdims=True)
        share = np.divide(W, top, out=np.zeros_like(W), where=top > 0) * factor
        if self.scheme in _WHOLE:
            whole: Array = np.rint(share * _WHOLE[self.scheme])
            return whole
        if self.scheme == "F8_E4M3":
            held: Array = (share * 448).astype(DTYPES["F8_E4M3"]).astype(np.float64)
            return held
        table = np.array(_NF4 if self.scheme == "NF4" else _FP4)
        nearest: Array = table[np.searchsorted((table[1:] + table[:-1]) / 2, share)]
        return nearest


GRIDS = (
    Grid("NF4", 64), Grid("FP4", 64), Grid("NF4", 128), Grid("FP4", 128),
    Grid("INT8", 0), Grid("F8_E4M3", 0), Grid("INT4", 0), Grid("INT4", 64), Grid("INT4", 128),
)  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How tuned values lie on a grid of the base.

    Attributes
    ----------
    off, numel
        Entries that are not on it, of how many.
    moved
        ‖tuned − base‖ / ‖base‖, less what was added onto the grid.
    """

    off: int
    numel: int
    moved: float

    @property
    def holds(self) -> bool:
        """Whether these are the base's values, rounded."""
        return self.off <= _TIES * self.numel and self.moved >= _LEAST


def possible(tuned: LazyTensor) -> tuple[Grid, ...]:
    """Return the grids that have as few levels as the first values of a tensor.

    Of ordinary weights in longer rows there is none, so that one small read is all it takes.
    """
    shape, size = tuned.shape, numel(tuned.shape)
    width = _block(Grid("INT8", 0), shape)
    with tuned.window(0, min(size, max(1, _SAMPLE // _PLACES // width) * width, _COUNTED)) as read:
        V = read.reshape(-1).astype(np.float64)
    sizes = dict.fromkeys(min(_block(grid, shape), len(V)) for grid in GRIDS)
    values = {block: _distinct(V[: len(V) // block * block].reshape(-1, block)) for block in sizes}
    return tuple(
        grid for grid in GRIDS
        if values[min(_block(grid, shape), len(V))] <= _LEVELS[grid.scheme]
    )  # fmt: skip


def _distinct(blocks: Array) -> float:
    """Return how many values a block has: the median, since single entries may be off a grid."""
    ascending = np.sort(blocks, axis=1)
    return float(np.median(1 + (ascending[:, 1:] != ascending[:, :-1]).sum(axis=1)))


def find(
    base: LazyTensor,
    tuned: LazyTensor,
    change: Entries | None = None,
    among: Collection[Grid] = GRIDS,
) -> Grid | None:
    """Return the grid of the base that tuned − `change` lies on, by a sample; None without one.

    A base of vectors, or of another shape, has none.
    """
    if base.shape != tuned.shape or min(matrix_shape(base.shape)) < 2:
        return None
    if precision(base.dtype) is None or precision(tuned.dtype) is None:
        return None
    for grid in among:
        size = numel(base.shape)
        if size % _block(grid, base.shape):
            continue
        runs = tuple(_spread(grid, base.shape))
        first = fit(base, tuned, grid, change, runs[:1])  # most tensors are far off in any place
        if first.off <= _FAR * first.numel and fit(base, tuned, grid, change, runs).holds:
            return grid
    return None


def fit(
    base: LazyTensor,
    tuned: LazyTensor,
    grid: Grid,
    change: Entries | None = None,
    runs: tuple[tuple[int, int], ...] = (),
) -> Fit:
    """Hold tuned − `change` to a grid of the base, streamed; to some runs of entries, if given."""
    block = _block(grid, base.shape)
    size = numel(base.shape)
    step = max(1, _RUN // block) * block
    off, moved, whole, many = 0, 0.0, 0.0, 0
    for start, stop in runs or [(i, min(i + step, size)) for i in range(0, size, step)]:
        with base.window(start, stop) as W, tuned.window(start, stop) as V:
            here = W.astype(np.float64).reshape(-1, block)
            there = V.astype(np.float64).reshape(-1, block)
        there[~np.isfinite(there)] = np.nan  # on no grid, and unlike infinity, in no warning
        added = 0.0 if change is None else change(start, stop).reshape(-1, block)
        # a dequantised value may have been held in bfloat16, whatever it is stored in
        least = min(
            int(_off(here, there, added, grid, dtype).sum())
            for dtype in dict.fromkeys((tuned.dtype, "BF16"))
        )
        off += least
        many += here.size
        moved += float(np.square(there - added - here).sum())
        whole += float(np.square(here).sum())
    return Fit(off, many, (moved / whole) ** 0.5 if whole else 0.0)


def _off(here: Array, there: Array, added: Array | float, grid: Grid, dtype: str) -> Array:
    facts = precision(dtype)
    assert facts is not None
    own, levels = there - added, grid.levels(here)
    fitted = levels * _agreeing(own, levels, facts[0])
    squares = np.square(fitted).sum(axis=1, keepdims=True)
    along = (own * fitted).sum(axis=1, keepdims=True)
    scale = np.divide(along, squares, out=np.zeros_like(along), where=squares > 0)

    def far(levels: Array) -> Array:
        expected = levels * scale
        near = np.maximum.reduce([np.abs(expected), np.abs(there), np.abs(added + 0 * there)])
        slack = _OFF * facts[0] * near + 2.0**-21 * np.abs(own).max(axis=1, keepdims=True)
        wrong: Array = ~(np.abs(own - expected) <= slack)
        return wrong

    wrong = far(levels)
    for side in (-_HALFWAY, _HALFWAY) if wrong.any() else ():
        wrong &= far(grid.levels(here, 1 + side))
    return wrong


def _agreeing(own: Array, levels: Array, spacing: float) -> Array:
    """Say which entries give about the scale that most of their block does.

    A value of the base that lies halfway between two levels may have either: its block's scale is
    fitted without it.
    """
    there = levels != 0
    ratios = np.divide(own, levels, out=np.full_like(own, np.nan), where=there)
    middle = levels * _medians(ratios)
    agreeing: Array = np.abs(own - middle) <= 4 * spacing * np.abs(middle)
    return agreeing


def _medians(values: Array) -> Array:
    """Return the median of each row as a column, what is NaN left out; 0 of nothing."""
    ascending = np.sort(values, axis=1)  # NaN is last
    count = np.isfinite(values).sum(axis=1, keepdims=True)
    pair = [
        np.take_along_axis(ascending, np.maximum(at, 0), 1) for at in ((count - 1) // 2, count // 2)
    ]
    found: Array = np.where(count > 0, (pair[0] + pair[1]) / 2, 0.0)
    return found


def _block(grid: Grid, shape: tuple[int, ...]) -> int:
    return grid.block or max(1, matrix_shape(shape)[1])


def _spread(grid: Grid, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield a few runs of whole blocks, spread over a tensor."""
    block, size = _block(grid, shape), numel(shape)
    length = max(1, _SAMPLE // _PLACES // block) * block
    places = min(_PLACES, max(1, size // length))
    for i in range(places):
        start = size // places * i // block * block
        yield start, min(start + length, size)
