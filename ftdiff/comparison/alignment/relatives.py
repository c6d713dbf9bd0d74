"""A few rows of matrices that two checkpoints pair: the same, alike, or strangers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np

from ftdiff.comparison.alignment.layer_match import STRANGER
from ftdiff.comparison.alignment.samples import is_same, of_pair
from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.naming import Address
from ftdiff.tensors import LazyTensor, numel

#: Matrices that rows are read of, and rows of each.
_MATRICES, _ROWS = 16, 1
#: A matrix of fewer entries says nothing, nor do fewer matrices.
_LEAST, _FEWEST = 256, 3
#: At this cosine a model is the base's, negated.
_NEGATED = -0.9
#: Blocks that are copied from model to model, and say nothing of where the others come from.
_COPIED = ("embed", "head", "norm")

#: A tensor of the base, its place, and its change.
Pair = tuple[Address, LazyTensor | None, Recipe]


@dataclass(frozen=True)
class Relatives:
    """What the rows say.

    Attributes
    ----------
    verdict
        "identical" (as far as was read), "family" (the base's, another checkpoint) or "unrelated".
    cosine
        The median cosine of the rows; None where no layer is like one of the base's.
    matrices
        How many they are of.
    """

    verdict: str
    cosine: float | None
    matrices: int


def relatives(pairs: Iterable[Pair]) -> Relatives | None:
    """Read a row of each of a few matrices of both sides; None where too few tell anything.

    They are drawn by a hash of the name: a stride would meet the same few components in every
    layer.
    """
    fit = [(at, W, r) for at, W, r in pairs if isinstance(r, Replaced) and _tells(at, W, r)]
    drawn = sorted(fit, key=lambda pair: crc32(pair[0].name.encode()))[:_MATRICES]
    found = [one for _, W, r in drawn if W is not None and (one := _of(W, r.tensor)) is not None]
    if len(found) < _FEWEST:
        return None
    middle = float(np.median([cosine for cosine, _ in found]))
    if all(equal for _, equal in found):
        return Relatives("identical", middle, len(found))
    # rows of independent starts are never the same
    apart = _NEGATED <= middle < STRANGER and not any(equal for _, equal in found)
    return Relatives("unrelated" if apart else "family", middle, len(found))


def are_strangers(pairs: Iterable[Pair]) -> Callable[[], bool]:
    """Return what says whether two models are no relatives; it reads once, and only if asked."""

    @cache
    def strangers() -> bool:
        found = relatives(pairs)
        return found is not None and found.verdict == "unrelated"

    return strangers


def _tells(at: Address, base: LazyTensor | None, recipe: Recipe) -> bool:
    if base is None or at.block in _COPIED or at.param != "weight" or len(base.shape) < 2:
        return False
    return base.shape == recipe.shape and numel(base.shape) >= _LEAST


def _of(base: LazyTensor, tuned: LazyTensor) -> tuple[float, bool] | None:
    """Return the cosine of a few rows with the base's, and whether they are the same."""
    if is_same(base, tuned):
        return 1.0, True
    pair = of_pair(base, tuned, _ROWS)
    if pair is None or pair[0].is_zero or pair[1].is_zero:
        return None
    return pair[0].cosine(pair[1]), pair[0].equals(pair[1])
