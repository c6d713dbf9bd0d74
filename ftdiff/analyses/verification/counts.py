"""What one pass over base, change and merged file counts, a tile of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.verification import products
from ftdiff.analyses.verification.replay import Replay, Source, held, spacing, ulps
from ftdiff.analyses.verification.stored import RUN, differ
from ftdiff.deltas.moments import Moments, exact
from ftdiff.deltas.recipes import Recipe
from ftdiff.tensors import DTYPES, Array, LazyTensor, matrix_shape, numel

#: Units of float32, at the largest entry of a row of ΔW, by which two orders of one sum differ.
_SUM = 4.0
#: What a product made in 16 bits, in whichever order, is off by: a share of the entry, for the
#: roundings of the product, and of its row's largest, for those of the factors.
_ENTRY, _ROW = 2.0**-7, 2.0**-8
#: Units in the last place within which the merge of a change that cannot be replayed to the bit
#: is the same: half of one for each of at most three roundings of ΔW and one of the sum.
LIMIT = 2.0


@dataclass(frozen=True)
class Tile:
    """W, the merged values and what is read of ΔW, of one run of rows, flat."""

    W: Array
    M: Array
    columns: int
    read: Mapping[Source, tuple[Array, ...]]
    scalings: tuple[float, ...]

    def products(self, way: Replay) -> tuple[Array, ...]:
        """Return what a replay makes ΔW of, one for each adapter."""
        return self.read[way.formed.source]

    def expected(self, way: Replay, factor: float = 1) -> Array:
        """Return the replay's values in the stored dtype."""
        made = self.products(way)
        return way.expected(self.W, *made, scalings=self.scalings, factor=factor)

    def change(self, factor: float = 1) -> Array:
        """Return ΔW in float32, the sum over the adapters."""
        plain = self.read[Source()]
        dW = sum(plain[1:], plain[0])
        return dW if factor == 1 else dW * dW.dtype.type(factor)

    def at(self, where: Array) -> Tile:
        """Return the entries of a mask."""
        read = {source: tuple(x[where] for x in made) for source, made in self.read.items()}
        return Tile(self.W[where], self.M[where], 1, read, self.scalings)

    def tops(self, values: Array) -> Array:
        """Return the largest size in each entry's row."""
        if not values.size or len(values) % self.columns:
            return np.full_like(values, np.abs(values).max(initial=0.0))
        rows = np.abs(values.reshape(-1, self.columns))
        return np.repeat(rows.max(axis=1), self.columns)

    def between(self, way: Replay, slack: Sequence[Array], factor: float = 1) -> Array:
        """Say which values the replay gives of products that are off by at most so much."""
        made = self.products(way)
        ends = []
        for sign in (-1, 1):
            moved = tuple(
                (x + sign * off).astype(x.dtype) for x, off in zip(made, slack, strict=True)
            )
            ends.append(way.expected(self.W, *moved, scalings=self.scalings, factor=factor))
        low, high, M = (held(values, way.stored) for values in (*ends, self.M))
        inside: Array = (np.minimum(low, high) <= M) & (np.maximum(low, high) >= M)
        return inside


def count(
    base: LazyTensor,
    recipe: Recipe,
    merged: LazyTensor,
    ways: Sequence[Replay],
    factor: float = 1,
    span: tuple[int, int] | None = None,
) -> Moments:
    """Count where the merged values are not what each replay gives.

    Returns
    -------
    Moments
        Counts `unequal_i` for the i-th replay.
    """

    def one(tile: Tile) -> Moments:
        wrong = (differ(tile.expected(way, factor), tile.M) for way in ways)
        return Moments(
            tile.W.size, counts={f"unequal_{i}": int(x.sum()) for i, x in enumerate(wrong)}
        )

    return _over(base, recipe, merged, ways, one, span)


def hold(
    base: LazyTensor, recipe: Recipe, merged: LazyTensor, way: Replay, factor: float = 1
) -> Moments:
    """Hold the merged values to one replay.

    Returns
    -------
    Moments
        Counts `unequal` (not the replay's to the bit), `unexplained` (nor for another order of the
        product's sum), `outside` (nor for a product made in 16 bits in whichever order), `due` (the
        replay moves the entry), `moved` (the merged value is not the base's), `neither` (it is not
        the replay's either) and `broken` (finite on one side alone). Sums `change_sq` (ΔW), and of
        merged − replay, `off_sq`, `off_change` and its variance `off_change_sq`.
    """
    to_the_bit = products.known_to_the_bit(recipe)

    def one(tile: Tile) -> Moments:
        still = tile.W.astype(DTYPES[merged.dtype])
        E = tile.expected(way, factor)
        wrong, due = differ(E, tile.M), differ(E, still)
        dW = tile.change(factor)
        counts = dict.fromkeys(("unexplained", "outside", "broken", "neither"), 0)
        counts |= {"unequal": int(wrong.sum()), "due": int(due.sum())}
        sums = {"change_sq": exact([_square(dW)])}
        sums |= dict.fromkeys(("off_sq", "off_change", "off_change_sq"), (0.0,))
        moved = due
        if counts["unequal"]:
            moved = differ(tile.M, still)
            counts["neither"] = int((moved & wrong).sum())
            more, sums_off = _wrong(tile, way, E, wrong, to_the_bit, factor)
            counts |= more
            sums |= sums_off
        counts["moved"] = int(moved.sum())
        return Moments(tile.W.size, sums, counts=counts)

    return _over(base, recipe, merged, (way,), one)


def _wrong(
    tile: Tile, way: Replay, E: Array, wrong: Array, to_the_bit: bool, factor: float
) -> tuple[dict[str, int], dict[str, tuple[float, ...]]]:
    """Count and add up the entries that are not the replay's."""
    near = [tile.tops(x)[wrong] for x in tile.products(way)]
    few, E = tile.at(wrong), E[wrong]
    made = few.products(way)
    own = spacing("F64" if made[0].dtype.itemsize == 8 else "F32")[0]
    size = [top if to_the_bit else np.maximum(top, np.abs(few.W)) for top in near]
    explained = few.between(way, [_SUM * own * top for top in size], factor)
    slack = [_ENTRY * np.abs(x) + _ROW * top for x, top in zip(made, near, strict=True)]
    around = explained | few.between(way, slack, factor)
    dW = few.change(factor).astype(np.float64)
    M, expected = held(few.M, way.stored), held(E, way.stored)
    off = M.astype(np.float64) - expected
    if not to_the_bit:
        big = np.maximum.reduce([np.abs(few.W), np.abs(M), *near])
        around |= ulps(off, big, way.grain) <= LIMIT
    counts = {
        "unexplained": int((~explained).sum()),
        "outside": int((~around).sum()),
        "broken": int((np.isfinite(M) != np.isfinite(expected)).sum()),
    }
    keep = np.isfinite(off) & np.isfinite(dW)
    off, dW = off[keep], dW[keep]
    sums = {
        "off_sq": exact([_dot(off, off)]),
        "off_change": exact([_dot(off, dW)]),
        "off_change_sq": exact([_dot(off * off, dW * dW)]),
    }
    return counts, sums


def apart(
    base: LazyTensor, recipe: Recipe, merged: LazyTensor, way: Replay, others: Sequence[Replay]
) -> Moments:
    """Add up how replays differ from each other.

    Returns
    -------
    Moments
        Of the i-th other − way, the sums `apart_i` (along ΔW) and `apart_sq_i`.
    """

    def one(tile: Tile) -> Moments:
        dW = tile.change().astype(np.float64)
        E = held(tile.expected(way), way.stored).astype(np.float64)
        sums = {}
        for i, other in enumerate(others):
            off = held(tile.expected(other), way.stored) - E
            keep = np.isfinite(off) & np.isfinite(dW)
            sums[f"apart_{i}"] = exact([_dot(off[keep], dW[keep])])
            sums[f"apart_sq_{i}"] = exact([_dot(off[keep], off[keep])])
        return Moments(tile.W.size, sums)

    return _over(base, recipe, merged, (way, *others), one)


def weigh(
    base: LazyTensor, recipe: Recipe, merged: LazyTensor, way: Replay, factor: float = 1
) -> Moments:
    """Add up what tells how much of `factor` · ΔW is in the file, over the finite entries.

    Returns
    -------
    Moments
        Sums over M − W (done), E − W (due) and ΔW, E being the replay's values: `done_change`,
        `due_change`, `change_sq`, `done_sq`, `due_sq`, `off_sq` (M − E), `off_due` and `base_sq`.
        The largest distance |M − E|: in `ulps` of the replay's grain, at the largest of |W|, |ΔW|,
        |M| and the tile's largest |ΔW|, whose products ΔW is made of; in `coarse`, of BF16 at |ΔW|
        alone.
    """

    def one(tile: Tile) -> Moments:
        E = held(tile.expected(way, factor), way.stored)
        M, W, dW = held(tile.M, way.stored), tile.W, tile.change(factor)
        keep = np.isfinite(W) & np.isfinite(dW) & np.isfinite(E) & np.isfinite(M)
        W, dW, E, M = (values[keep].astype(np.float64) for values in (W, dW, E, M))
        done, due, off = M - W, E - W, M - E
        pairs = {
            "done_change": (done, dW), "due_change": (due, dW), "change_sq": (dW, dW),
            "done_sq": (done, done), "due_sq": (due, due), "off_sq": (off, off),
            "off_due": (off, due), "base_sq": (W, W),
        }  # fmt: skip
        sums = {name: exact([_dot(a, b)]) for name, (a, b) in pairs.items()}
        near = np.maximum(np.abs(dW), np.abs(dW).max(initial=0.0))
        size = np.maximum(np.maximum(np.abs(W), np.abs(M)), near)
        tops = {
            "ulps": float(ulps(off, size, way.grain).max(initial=0.0)),
            "coarse": float(ulps(off, near, "BF16").max(initial=0.0)),
        }
        return Moments(len(keep), sums, tops)

    return _over(base, recipe, merged, (way,), one)


def _square(values: Array) -> float:
    """Return the sum of squares of the finite entries."""
    wide = values.astype(np.float64)
    total = _dot(wide, wide)
    return total if math.isfinite(total) else _dot(*(np.nan_to_num(wide, posinf=0, neginf=0),) * 2)


def _dot(a: Array, b: Array) -> float:
    """Return Σ a b in one order, which a library's threads do not change."""
    return float(np.einsum("i,i->", a, b))


def sample(recipe: Recipe) -> tuple[int, int]:
    """Return the entries in the middle of a tensor by which replays are chosen."""
    step, size = _step(recipe), numel(recipe.shape)
    start = size // step // 2 * step
    return start, min(start + step, size)


def _step(recipe: Recipe) -> int:
    columns = max(1, _columns(recipe))
    return max(1, RUN // columns) * columns


def _columns(recipe: Recipe) -> int:
    return (getattr(recipe, "view", None) or matrix_shape(recipe.shape))[1]


def _over(
    base: LazyTensor,
    recipe: Recipe,
    merged: LazyTensor,
    ways: Sequence[Replay],
    one: Callable[[Tile], Moments],
    span: tuple[int, int] | None = None,
) -> Moments:
    total = Moments()
    for tile in _tiles(base, recipe, merged, ways, span or (0, numel(base.shape))):
        total += one(tile)
    return total


def _tiles(
    base: LazyTensor,
    recipe: Recipe,
    merged: LazyTensor,
    ways: Sequence[Replay],
    span: tuple[int, int],
) -> Iterator[Tile]:
    sources = dict.fromkeys((Source(), *(way.formed.source for way in ways)))
    own = products.terms(recipe)
    readers = {s: [products.read(term, base, s) for term in own] for s in sources}
    scalings = tuple(products.scaling(term) for term in own)
    step, columns = _step(recipe), max(1, _columns(recipe))
    for start in range(span[0], span[1], step):
        stop = min(start + step, span[1])
        dtypes = base.dtype, merged.dtype
        made = {s: tuple(held(r(start, stop), *dtypes) for r in rs) for s, rs in readers.items()}
        with base.window(start, stop) as W, merged.window(start, stop) as M:
            yield Tile(held(W, *dtypes), M, columns, made, scalings)
