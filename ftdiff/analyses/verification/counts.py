"""What one pass over base, change and merged file counts, a tile of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.verification.replay import Replay, held, spacing, ulps
from ftdiff.deltas.moments import Moments, exact
from ftdiff.deltas.recipes import Recipe
from ftdiff.formats import Quantised
from ftdiff.tensors import DTYPES, Array, LazyTensor, matrix_shape, numel

#: W, ΔW and the merged values of one run, flat.
Tile = tuple[Array, Array, Array]

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
                wrong = _differ(E, M)
                counts["unequal"] = int(wrong.sum())
                top = _distance(E[wrong], M[wrong], merged.dtype)
            if base is not None:
                with _cast(base, start, stop, merged.dtype) as W:
                    counts["moved"] = int(_differ(W, M).sum())
            total += Moments(stop - start, tops={"ulps": top}, counts=counts)
    return total


def count(
    base: LazyTensor, recipe: Recipe, merged: LazyTensor, ways: Sequence[Replay], factor: float = 1
) -> Moments:
    """Count where the merged values are not what each replay gives.

    Returns
    -------
    Moments
        Counts `unequal_i` for the i-th replay, `due` (the first replay moves the entry), `moved`
        (the merged value is not the base's), `neither` (it is not the first replay's either) and
        `broken` (finite on one side alone).
    """

    def tile(W: Array, dW: Array, M: Array) -> Moments:
        still = W.astype(DTYPES[merged.dtype])
        E = ways[0].expected(W, dW)
        wrong, due = _differ(E, M), _differ(E, still)
        counts = {"unequal_0": int(wrong.sum()), "due": int(due.sum())}
        moved = due if not counts["unequal_0"] else _differ(M, still)
        counts["moved"] = int(moved.sum())
        counts["neither"] = int((moved & wrong).sum())
        counts["broken"] = int((np.isfinite(M[wrong]) != np.isfinite(E[wrong])).sum())
        for i, way in enumerate(ways[1:], 1):
            counts[f"unequal_{i}"] = int(_differ(way.expected(W, dW), M).sum())
        return Moments(W.size, counts=counts)

    return _over(base, recipe, merged, factor, tile)


def weigh(
    base: LazyTensor, recipe: Recipe, merged: LazyTensor, way: Replay, factor: float = 1
) -> Moments:
    """Add up what tells how much of `factor` · ΔW is in the file, over the finite entries.

    Returns
    -------
    Moments
        Sums over M − W (done), E − W (due) and ΔW, E being the replay's values: `done_change`,
        `due_change`, `change_sq`, `done_sq`, `due_sq`, `off_sq` (M − E) and `off_due`. The largest
        distance |M − E|: in `ulps` of the replay's grain, at the largest of |W|, |ΔW|, |M| and the
        tile's largest |ΔW|, whose products ΔW is made of; in `coarse`, of BF16 at |ΔW| alone.
    """

    def tile(W: Array, dW: Array, M: Array) -> Moments:
        E = held(way.expected(W, dW), way.stored)
        found = held(M, way.stored)
        keep = np.isfinite(W) & np.isfinite(dW) & np.isfinite(E) & np.isfinite(found)
        W, dW, E, found = (values[keep].astype(np.float64) for values in (W, dW, E, found))
        done, due, off = found - W, E - W, found - E
        pairs = {
            "done_change": (done, dW), "due_change": (due, dW), "change_sq": (dW, dW),
            "done_sq": (done, done), "due_sq": (due, due), "off_sq": (off, off),
            "off_due": (off, due),
        }  # fmt: skip
        sums = {name: exact([float(np.dot(a, b))]) for name, (a, b) in pairs.items()}
        near = np.maximum(np.abs(dW), np.abs(dW).max(initial=0.0))
        size = np.maximum(np.maximum(np.abs(W), np.abs(found)), near)
        tops = {
            "ulps": float(ulps(off, size, way.grain).max(initial=0.0)),
            "coarse": float(ulps(off, near, "BF16").max(initial=0.0)),
        }
        return Moments(len(keep), sums, tops)

    return _over(base, recipe, merged, factor, tile)


@dataclass(frozen=True)
class Inside:
    """How values lie in the cells of a quantised base's codes.

    Attributes
    ----------
    share
        Of the values, those that round to their code.
    spread
        Their squared distance from the dequantised values, over what values that are spread evenly
        over each cell have: near 1 where these are the values that were quantised.
    """

    share: float
    spread: float


def inside(base: Quantised, recipe: Recipe | None, merged: LazyTensor, factor: float = 1) -> Inside:
    """Hold M − `factor` · ΔW against the cells of the base's codes.

    Half a unit in the last place of the file is allowed for. Cells without an end are as wide
    beyond their level as before it.
    """
    columns = matrix_shape(base.shape)[1]
    step = max(1, RUN // max(1, columns)) * max(1, columns)
    size = numel(base.shape)
    own, off, even = 0, 0.0, 0.0
    read = recipe.entries(base) if recipe is not None and factor else None
    for start in range(0, size, step):
        stop = min(start + step, size)
        low, high = (ends.astype(np.float64) for ends in base.cells(start, stop))
        with merged.window(start, stop) as M, base.window(start, stop) as W:
            found, level = M.astype(np.float64), W.astype(np.float64)
        slack = spacing(merged.dtype)[0] / 2 * np.abs(found)
        if read is not None:
            found -= factor * read(start, stop)
        own += int(((found >= low - slack) & (found <= high + slack)).sum())
        low = np.where(np.isfinite(low), low, 2 * level - high)
        high = np.where(np.isfinite(high), high, 2 * level - low)
        off += float(np.nansum((found - level) ** 2))
        even += float(np.nansum((high - low) ** 2)) / 12
    return Inside(own / max(1, size), off / even if even else 0.0)


def _over(
    base: LazyTensor,
    recipe: Recipe,
    merged: LazyTensor,
    factor: float,
    tile: Callable[[Array, Array, Array], Moments],
) -> Moments:
    total = Moments()
    for W, dW, M in _tiles(base, recipe, merged):
        total += tile(W, dW if factor == 1 else dW * dW.dtype.type(factor), M)
    return total


def _tiles(base: LazyTensor, recipe: Recipe, merged: LazyTensor) -> Iterator[Tile]:
    columns = (getattr(recipe, "view", None) or matrix_shape(recipe.shape))[1]
    step = max(1, RUN // max(1, columns)) * max(1, columns)
    size = numel(base.shape)
    read = recipe.entries(base)
    for start in range(0, size, step):
        stop = min(start + step, size)
        dW = held(read(start, stop), base.dtype, merged.dtype)
        with base.window(start, stop) as stored, merged.window(start, stop) as M:
            yield held(stored, base.dtype, merged.dtype), dW, M


@contextmanager
def _cast(tensor: LazyTensor, start: int, stop: int, dtype: str) -> Iterator[Array]:
    with tensor.window(start, stop) as values, np.errstate(all="ignore"):
        yield values if tensor.dtype == dtype else values.astype(DTYPES[dtype])


def _differ(a: Array, b: Array) -> Array:
    """Return where two arrays of one dtype have other bits; one NaN is as good as another."""
    bits = np.dtype(f"u{a.dtype.itemsize}")
    differ: Array = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    if a.dtype.kind not in "biu" and differ.any():
        differ &= ~(np.isnan(a) & np.isnan(b))
    return differ


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
