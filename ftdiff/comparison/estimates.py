"""What measuring a tensor's metrics will take, from its shape: seconds, and bytes of memory."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from ftdiff.comparison.plan import Change
from ftdiff.deltas.recipes import Added
from ftdiff.deltas.recipes.held import stored
from ftdiff.metrics.linalg import lanczos, svd
from ftdiff.metrics.linalg.row_matrices import RUN, reading
from ftdiff.tensors import matrices, numel


def seconds(change: Change, needs: frozenset[str]) -> float:
    """Estimate from the shape: products at this machine's rate, passes at its memory's."""
    count, rows, columns = matrices(change.address.name, change.recipe.shape)
    size, short = count * rows * columns, min(rows, columns)
    if len(change.recipe.shape) < 2 or needs == {"structure"}:
        return 0.0 if len(change.recipe.shape) < 2 else 1e-2 * count
    if "geometry" in needs:
        return 2e-7 * size + 2 * (2 * size * short + 6 * count * short**3) / _rate()
    if isinstance(change.recipe, Added):
        return 5e-3 + size * 1e-10
    passes = 2e-8 * size
    if "spectrum" not in needs:
        return passes
    return passes + (2 * size * short + 6 * count * short**3) / _rate()


def memory(change: Change, needs: frozenset[str]) -> int:
    """Return what measuring holds, from the shape: Gram matrices, and matrices that are iterated.

    Of a product of factors it is little: they are smaller than what they make.
    """
    _, rows, columns = matrices(change.address.name, change.recipe.shape)
    if len(change.recipe.shape) < 2 or not rows * columns:
        return 0
    found = [0]
    if not _is_thin(change):
        found += [svd.needed(rows, columns)] * bool({"spectrum", "geometry"} & needs)
        found += [lanczos.needed(rows, columns)] * ("top" in needs)
    if "geometry" in needs and change.base is not None:
        beside = reading(rows, columns, RUN)
        found += [beside + kind.needed(rows, columns) for kind in (svd, lanczos)]
    return max(found)


def _is_thin(change: Change) -> bool:
    """Say whether a change is made of factors that hold less than it."""
    inside = sum(numel(one.shape) for one in stored(change.recipe))
    return isinstance(change.recipe, Added) and inside < numel(change.recipe.shape)


@lru_cache(maxsize=1)
def _rate() -> float:
    """Return multiplications and additions a second, of a product that takes milliseconds."""
    M = np.ones((512, 512))
    M @ M
    start = time.perf_counter()
    M @ M
    return 2 * 512**3 / max(time.perf_counter() - start, 1e-6)
