"""How sure a change of loss is, over texts: intervals, and the chance of it under no change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.live_model.losses import Losses
from ftdiff.tensors import Array

#: Draws of texts for an interval, and of signs for a chance.
DRAWS = 9999
#: Texts under which draws of them say little of others, and no chance is below .05.
FEWEST = 6
#: The share of draws outside of an interval.
OUTSIDE = 0.05


@dataclass(frozen=True)
class Effect:
    """A change of the mean loss, its interval over texts, and its chance under no change.

    Of fewer than `FEWEST` texts there is no interval: its ends are NaN.
    """

    value: float
    low: float
    high: float
    p: float


def effects(changed: Sequence[Losses], reference: Losses, sign: float, seed: int) -> list[Effect]:
    """Return sign · (L − L of the reference), each with its interval and p.

    Parameters
    ----------
    changed
        Losses on the same texts, of the model with one part changed each.
    reference
        Losses of the model as it is.
    sign
        1.0, or -1.0 where a change that lowers the loss counts as positive.
    seed
        What the draws depend on; they are the same for all.

    Notes
    -----
    Intervals are percentiles of a bootstrap over texts, of the sum of losses over the sum of
    tokens. Chances are two-sided, of a sum whose texts' signs are drawn, and adjusted together by
    Holm's method.
    """
    if not changed:
        return []
    tokens = reference.tokens
    moved = sign * np.stack([one.sums - reference.sums for one in changed])
    draw = np.random.default_rng(seed)
    counts = draw.multinomial(len(tokens), np.full(len(tokens), 1 / len(tokens)), size=DRAWS)
    means = counts @ moved.T / (counts @ tokens)[:, None]
    low, high = np.quantile(means, [OUTSIDE / 2, 1 - OUTSIDE / 2], axis=0)
    if len(tokens) < FEWEST:
        low, high = np.full((2, len(moved)), np.nan)
    signs = draw.choice([-1.0, 1.0], size=(DRAWS, len(tokens)))
    total = np.abs(moved.sum(axis=1))
    beyond = (np.abs(signs @ moved.T) >= total * (1 - 1e-12)).sum(axis=0)
    chances = holm((1 + beyond) / (1 + DRAWS))
    values = moved.sum(axis=1) / tokens.sum()
    columns = (values.tolist(), low.tolist(), high.tolist(), chances.tolist())
    return [Effect(*row) for row in zip(*columns, strict=True)]


def holm(chances: Array) -> Array:
    """Adjust chances that are read together (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(chances)
    steps = chances[order] * np.arange(len(chances), 0, -1)
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted
