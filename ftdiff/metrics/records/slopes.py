"""Whether a change holds the rounding of its base to few bits: the slope of ΔW on Q(W) − W.

Whoever trains an adapter on a quantised base and merges it without going back has
M = Q(W) + B·A, so that the slope of M − W on Q(W) − W is 1. On the base itself it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.formats.quantised.rounding import ROUNDINGS, Rounding
from ftdiff.tensors import Array, LazyTensor

#: Entries that are read of a matrix, in so many places; the side of a tile.
_ENTRIES, _PLACES, _SIDE = 1 << 14, 4, 128
#: Entries of a matrix that is read through for its largest one, at most; and read at a time.
_WHOLE, _RUN = 1 << 24, 1 << 18
#: A change that holds a rounding is at least so much of it.
_LEAST = 0.7


@dataclass(frozen=True)
class Slope:
    """Sums of one rounding over sampled entries; they add up over matrices.

    Attributes
    ----------
    rounding
        Which it is.
    xx, xy, yy
        Σ(Q−W)², Σ(Q−W)·ΔW and ΣΔW².
    spread
        Σ(Q−W)²·(ΔW − (Q−W)·slope)², of which the error is made.
    matrices
        How many they are of.
    """

    rounding: Rounding
    xx: float
    xy: float
    yy: float
    spread: float
    matrices: int = 1

    @property
    def value(self) -> float:
        """The slope."""
        return self.xy / self.xx if self.xx else math.nan

    @property
    def error(self) -> float:
        """Its standard error, whatever the residuals' spread (White, 1980)."""
        return math.sqrt(self.spread) / self.xx if self.xx else math.nan

    @property
    def explained(self) -> float:
        """The share of ΣΔW² that the rounding explains."""
        return self.xy**2 / (self.xx * self.yy) if self.xx and self.yy else 0.0


def total(several: Iterable[Slope]) -> Slope | None:
    """Add up the sums of one rounding, each matrix in units of its own."""
    many = [one for one in several if one.xx > 0]
    if not many:
        return None
    xx = [one.xx for one in many]
    return Slope(
        many[0].rounding,
        xx=float(len(many)),
        xy=sum(one.xy / x for one, x in zip(many, xx, strict=True)),
        yy=sum(one.yy / x for one, x in zip(many, xx, strict=True)),
        spread=sum(one.spread / x**2 for one, x in zip(many, xx, strict=True)),
        matrices=len(many),
    )


def best(found: Iterable[Slope]) -> Slope | None:
    """Return the rounding that explains most; None without any."""
    return max(found, key=lambda one: one.explained, default=None)


def slopes(
    recipe: Recipe, base: LazyTensor | None, shape: tuple[int, int], index: int, relative: float
) -> tuple[Slope, ...]:
    """Measure the slope on each rounding that is not larger than the change.

    Parameters
    ----------
    recipe, base, shape, index
        As in `structure`.
    relative
        ‖ΔW‖/‖W‖.
    """
    if base is None or not isinstance(recipe, Replaced):
        return ()
    found = []
    for rounding in ROUNDINGS:
        if relative < _LEAST * rounding.floor or not rounding.fits(shape):
            continue
        if rounding.scale == "tensor" and shape[0] * shape[1] > _WHOLE:
            continue
        sums = np.zeros(3)
        pairs = []
        for W, M, top in _blocks(rounding, base, recipe.tensor, shape, index):
            if not (np.isfinite(W).all() and np.isfinite(M).all()):
                continue
            x, y = rounding.of(W, top) - W, M - W
            pairs.append((x, y))
            sums += ((x * x).sum(), (x * y).sum(), (y * y).sum())
        if sums[0] > 0 and sums[2] > 0:
            xx, xy, yy = map(float, sums)
            spread = sum(float(np.square(x * (y - xy / xx * x)).sum()) for x, y in pairs)
            found.append(Slope(rounding, xx, xy, yy, spread))
    return tuple(found)


def _blocks(
    rounding: Rounding, base: LazyTensor, tuned: LazyTensor, shape: tuple[int, int], index: int
) -> Iterator[tuple[Array, Array, float | None]]:
    """Yield W and M of whole blocks, and the largest entry where the tensor has one scale."""
    rows, columns = shape
    first = index * rows * columns
    if rounding.scale == "tile":
        across = range(0, columns - _SIDE + 1, _SIDE)[: 2 * _PLACES : 2][:2]
        for column in across:
            yield _tile(base, first, columns, column), _tile(tuned, first, columns, column), None
        return
    top = None
    if rounding.scale == "tensor":
        top = _largest(base, first, first + rows * columns)
    block = int(rounding.scale) if rounding.scale.isdecimal() else columns
    size = rows * columns
    length = max(1, _ENTRIES // _PLACES // block) * block
    places = min(_PLACES, max(1, size // length))
    for i in range(places):
        start = size // places * i // block * block
        stop = min(start + length, size)
        width = columns if rounding.scale == "row" else block
        with (
            base.window(first + start, first + stop) as W,
            tuned.window(first + start, first + stop) as M,
        ):
            pair = W.astype(np.float64), M.astype(np.float64)
        yield pair[0].reshape(-1, width), pair[1].reshape(-1, width), top


def _largest(tensor: LazyTensor, start: int, stop: int) -> float:
    """Return the largest magnitude of some entries; NaN where one of them is."""
    found = [0.0]
    for at in range(start, stop, _RUN):
        with tensor.window(at, min(at + _RUN, stop)) as flat:
            found.append(float(np.abs(flat.astype(np.float32)).max(initial=0.0)))
    return float(np.max(found))


def _tile(tensor: LazyTensor, first: int, columns: int, at: int) -> Array:
    with tensor.window(first, first + _SIDE * columns) as flat:
        tile: Array = flat.reshape(_SIDE, columns)[:, at : at + _SIDE].astype(np.float64)
    return tile
