"""How alike strangers look by chance: much, where few values were read of many layers."""

from __future__ import annotations

import math
from functools import lru_cache

#: How often any layer of two unrelated stacks may be taken for one of the other's, at most.
_RATE = 1e-3
_STEPS = 100


@lru_cache(maxsize=1024)
def reach(sizes: tuple[int, ...], comparisons: int) -> float:
    """Return the mean cosine that unrelated values do not reach in so many comparisons.

    Parameters
    ----------
    sizes
        How many values each of the cosines is of.
    comparisons
        How many means are looked at: those of every layer with every other.

    Notes
    -----
    The null: values whose direction is uniform. A cosine of n of them exceeds x with probability
    at most ½ (1 - x²)^((n-1)/2), so that -(n-1)/2 · ln(1 - x²) is at most an exponential variable,
    and the sum over k cosines has at most the tail of Erlang's distribution. Of all cosines of one
    mean, those whose sum is least have (n-1) x/(1 - x²) in common.

    Examples
    --------
    >>> [round(reach((n,) * 4, 144), 2) for n in (4, 8, 128, 4096)]
    [0.98, 0.86, 0.27, 0.05]
    """
    most = _tail_reaches(len(sizes), _RATE / comparisons)
    free = [n - 1 for n in sizes]
    low, high = -50.0, 50.0  # the logarithm of what they have in common
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = [_cosine(a, math.exp(middle)) for a in free]
        spent = sum(-a / 2 * math.log1p(-x * x) for a, x in zip(free, found, strict=True) if a)
        low, high = (middle, high) if spent < most else (low, middle)
    return sum(_cosine(a, math.exp(low)) for a in free) / len(free)


def _cosine(a: int, common: float) -> float:
    """Solve a x/(1 - x²) = common for x; one value alone has cosine 1 or -1."""
    return min(2 * common / (a + math.hypot(a, 2 * common)), 1 - 1e-15) if a else 1.0


def _tail_reaches(count: int, rate: float) -> float:
    """Return the sum of so many exponential variables that is exceeded at this rate."""
    low, high = 0.0, 1000.0
    for _ in range(_STEPS):
        at = (low + high) / 2
        tail = sum(math.exp(k * math.log(at) - at - math.lgamma(k + 1)) for k in range(count))
        low, high = (at, high) if tail > rate else (low, at)
    return high
