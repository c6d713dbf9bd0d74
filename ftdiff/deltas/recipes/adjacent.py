"""Many small tensors that lie one after the other in both files, measured in one call.

A call costs more than the reading of a few thousand entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from ftdiff import kernels
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.recipes.recipe import Recipe
from ftdiff.deltas.recipes.replaced import Replaced
from ftdiff.tensors import DTYPES, FileTensor, LazyTensor, nbytes, numel

#: A change, and the base that it is of.
Pair: TypeAlias = tuple[Recipe, LazyTensor | None]


def runs(pairs: Sequence[Pair]) -> Iterator[range]:
    """Cut a sequence into runs of which `moments` measures each in one call, and single pairs."""
    start = 0
    for at in range(1, len(pairs) + 1):
        if at < len(pairs) and _follows(pairs[at - 1], pairs[at]):
            base = pairs[at][1]
            assert base is not None
            if (at + 1 - start) * numel(base.shape) <= tiling.TILE:
                continue
        yield range(start, at)
        start = at


def moments(pairs: Sequence[Pair]) -> list[Moments]:
    """Measure a run of several: the same bits as one by one.

    Raises
    ------
    BadFile
        A part of it cannot be read.
    """
    (tuned, size), (base, _) = (_whole([p[side] for p in pairs]) for side in (0, 1))
    count = len(pairs) * size
    with tuned.window(0, count) as values, base.window(0, count) as W:
        return tiling.replaced_each(W, values, base.dtype, tuned.dtype, size)


def _whole(held: Sequence[Recipe | LazyTensor | None]) -> tuple[FileTensor, int]:
    """Return one side of a run as one tensor, and the entries of each of its parts."""
    first = _stored(held[0])
    assert first is not None
    size = numel(first.shape)
    return replace(first, shape=(len(held) * size,)), size


def _stored(side: Recipe | LazyTensor | None) -> FileTensor | None:
    """Return what lies entry by entry in a file, and is small."""
    tensor = side.tensor if type(side) is Replaced else side
    if not isinstance(tensor, FileTensor) or tensor.dtype not in DTYPES:
        return None
    return tensor if 0 < numel(tensor.shape) <= kernels.BLOCK else None


def _follows(early: Pair, late: Pair) -> bool:
    """Say whether both sides of a pair lie right behind those of another, and are alike."""
    for before, after in zip(early, late, strict=True):
        one, other = _stored(before), _stored(after)
        if one is None or other is None or one.offset + nbytes(one) != other.offset:
            return False
        if (one.dtype, one.source) != (other.dtype, other.source):
            return False
        if numel(one.shape) != numel(other.shape):
            return False
    # the same bytes on both sides are read once, or not at all
    return not any(
        type(recipe) is Replaced and recipe.is_of(base) for recipe, base in (early, late)
    )
