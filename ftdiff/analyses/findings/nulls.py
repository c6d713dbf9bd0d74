"""Nulls by permutation: what a statistic would be if the layers stood in any other order."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ftdiff.tensors import Array

#: Permutations behind every p: the least p is one in a thousand.
DRAWS = 999
_SEED = 20_240_917


@lru_cache(maxsize=8)
def orders(layers: int, block: int | None = None, draws: int = DRAWS) -> Array:
    """Return permutations of layers, int (draws, layers), the same ones every time.

    Neighbouring layers resemble each other, so that blocks of them are moved, not single ones:
    three at a time where there are eight blocks of three, fewer in shallow models.
    """
    length = block or max(1, min(3, layers // 8))
    cuts = [np.arange(start, min(start + length, layers)) for start in range(0, layers, length)]
    rng = np.random.default_rng(_SEED)
    shuffled = [np.concatenate([cuts[i] for i in rng.permutation(len(cuts))]) for _ in range(draws)]
    found: Array = np.array(shuffled).reshape(draws, layers)
    found.flags.writeable = False
    return found


def p_value(observed: float, null: Array) -> float:
    """Return the share of the null that is as large, the observed one counted among them."""
    return float((1 + (null >= observed * (1 - 1e-12)).sum()) / (1 + len(null)))


def discoveries(p: Array, *, shared: bool = False) -> Array:
    """Return the p of several tests adjusted by Benjamini and Hochberg (1995).

    Tests that share data depend on each other in any way: by Benjamini and Yekutieli (2001).
    """
    from scipy.stats import false_discovery_control

    method = "by" if shared else "bh"
    found = false_discovery_control(p, method=method) if len(p) else np.zeros(0)
    return np.asarray(found, np.float64)
