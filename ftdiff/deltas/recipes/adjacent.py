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
from ftdiff.tensors import DTYPES, FileTensor, LazyTensor, Source, nbytes, numel

#: A change, and the base that it is of.
Pair: TypeAlias = tuple[Recipe, LazyTensor | None]


def runs(pairs: Sequence[Pair]) -> Iterator[range]:
    """Cut a sequence into runs of which `moments` measures each in one call, and single pairs."""
    start = 0
    before: _Places = ()
    for at, pair in enumerate(pairs):
        here = _places(pair)
        if at and not (_follows(before, here) and (at + 1 - start) * here[0][2] <= tiling.TILE):
            yield range(start, at)
            start = at
        before = here
    if pairs:
        yield range(start, len(pairs))


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


#: Where both sides of a pair lie: source, dtype and entries of each, its first byte, and its end.
_Places: TypeAlias = Sequence[tuple[Source, str, int, int, int]]


def _places(pair: Pair) -> _Places:
    """Return where a pair lies; nothing where a side is no small part of a file, or both are one.

    The same bytes on both sides are read once, or not at all.
    """
    found = []
    for side in pair:
        tensor = _stored(side)
        if tensor is None:
            return ()
        size = nbytes(tensor)
        entries, end = size // DTYPES[tensor.dtype].itemsize, tensor.offset + size
        found.append((tensor.source, tensor.dtype, entries, tensor.offset, end))
    recipe, base = pair
    return () if type(recipe) is Replaced and recipe.is_of(base) else found


def _follows(early: _Places, late: _Places) -> bool:
    """Say whether both sides of a pair lie right behind those of another, and are alike."""
    if not early or not late:
        return False
    return all(
        before[4] == after[3] and before[2] == after[2] and before[:2] == after[:2]
        for before, after in zip(early, late, strict=True)
    )
