"""The arithmetics in which tools make a merge, each replayed as it rounds.

To add one: its line in `WAYS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from operator import add
from typing import Any, Self, TypeAlias

import numpy as np

from ftdiff.analyses.merges.rounding import rounded
from ftdiff.kernels import Arithmetic
from ftdiff.tensors import DTYPES, Array

#: An array of entries, or what writes down what is done with them.
Values: TypeAlias = Any


@dataclass(frozen=True, eq=False)
class Given:
    """What a way is given.

    Attributes
    ----------
    base
        W0 in the working dtype (float32; float64 where that is stored); None where it is not known.
    parents
        Of one shape, in the working dtype.
    weights
        One for each parent.
    stored
        The merged file's dtype.
    """

    base: Values | None
    parents: Sequence[Values]
    weights: Sequence[float]
    stored: str

    @property
    def terms(self) -> list[tuple[float, Values]]:
        """What is summed: the parents, and the base where it has the rest to 1."""
        found = [*zip(self.weights, self.parents, strict=True)]
        rest = 1 - sum(self.weights)
        if self.base is not None and abs(rest) > 1e-9:
            found.insert(0, (rest, self.base))
        return found

    def number(self, value: float) -> Values:
        """Return a coefficient in the working dtype."""
        return np.asarray(value, dtype=self.parents[0].dtype)

    def low(self, values: Values) -> Values:
        """Round to the stored dtype."""
        return rounded(values, self.stored)

    def narrowed(self) -> Self:
        """Return all models rounded to the stored dtype, as tools load them into it."""
        base = None if self.base is None else self.low(self.base)
        return replace(self, base=base, parents=[self.low(one) for one in self.parents])


def _linear(given: Given) -> Values:
    return reduce(add, (given.number(w) * x for w, x in given.terms))


def _backwards(given: Given) -> Values:
    return reduce(add, (given.number(w) * x for w, x in reversed(given.terms)))


def _between(given: Given) -> Values:
    (_, first), (w, second) = given.terms
    return first + given.number(w) * (second - first)


def _low_products(given: Given) -> Values:
    """Sum products that are rounded, and divide by the sum of the rounded weights."""
    weights = [given.low(given.number(w)) for w, _ in given.terms]
    products = [given.low(w * x) for w, (_, x) in zip(weights, given.terms, strict=True)]
    total = given.low(reduce(add, weights))
    mixed = given.low(reduce(add, products))
    return mixed / total if total else mixed


def _low_scalars(given: Given) -> Values:
    """Add products to a sum that is rounded each time; weights are kept in full."""
    products = [given.low(given.number(w) * x) for w, x in given.terms]
    return reduce(lambda left, right: given.low(left + right), products)


def _low_in_turn(given: Given) -> Values:
    """Add products to a sum that is rounded each time; weights are rounded too."""
    products = [given.low(given.low(given.number(w)) * x) for w, x in given.terms]
    return reduce(lambda left, right: given.low(left + right), products)


def _task(given: Given) -> Values:
    assert given.base is not None
    W = given.base
    pairs = zip(given.weights, given.parents, strict=True)
    return W + reduce(add, (given.number(w) * (x - W) for w, x in pairs))


def _low_task(given: Given, *, weights: bool = True) -> Values:
    """Round each change, each product, and their sum."""
    assert given.base is not None
    W = given.base
    parts = []
    for value, x in zip(given.weights, given.parents, strict=True):
        w = given.low(given.number(value)) if weights else given.number(value)
        parts.append(given.low(w * given.low(x - W)))
    return W + given.low(reduce(add, parts))


def _low_task_in_turn(given: Given) -> Values:
    """Add each weighed change to the weights, rounding each time."""
    assert given.base is not None
    W = total = given.base
    for value, x in zip(given.weights, given.parents, strict=True):
        total = given.low(total + given.low(given.number(value) * given.low(x - W)))
    return total


@dataclass(frozen=True, eq=False)
class Written(Given):
    """What a way is given where what it does is written down, for code that does it."""

    to: Arithmetic

    def number(self, value: float) -> Values:
        """Return a coefficient of the code."""
        return self.to.number(value)

    def low(self, values: Values) -> Values:
        """Write down that it is rounded."""
        return self.to.low(values)


@dataclass(frozen=True)
class Way:
    """One arithmetic.

    Attributes
    ----------
    said
        In words.
    make
        Returns the merged values before they are stored.
    low
        Whether sums or products are rounded to the stored dtype on the way.
    tasks
        Whether it sums changes, for which the base is needed.
    """

    said: str
    make: Callable[[Given], Values]
    low: bool = False
    tasks: bool = False

    def made(self, given: Given) -> Values:
        """Return the merged values before they are stored; of few bits are the models too."""
        return self.make(given.narrowed() if self.low else given)

    def stored(self, given: Given) -> Array:
        """Return the merged values, stored."""
        with np.errstate(all="ignore"):  # beyond the largest number of the dtype: an infinity
            return np.asarray(self.made(given)).astype(DTYPES[given.stored])


#: By name, likeliest first.
WAYS: Mapping[str, Way] = {
    "linear": Way("a weighted sum in float32", _linear),
    "backwards": Way("a weighted sum in float32, the last first", _backwards),
    "between": Way("from the first towards the second in float32", _between),
    "task": Way("weighted changes added in float32", _task, tasks=True),
    "low products": Way("products rounded, then summed", _low_products, low=True),
    "low sums": Way("products and sums rounded", _low_scalars, low=True),
    "low weights": Way("weights, products and sums rounded", _low_in_turn, low=True),
    "low task": Way("weighted changes rounded, then added", _low_task, low=True, tasks=True),
    "low task, whole weights": Way(
        "changes rounded, weighed, rounded, then added",
        lambda given: _low_task(given, weights=False),
        low=True,
        tasks=True,
    ),
    "low task in turn": Way(
        "weighted changes added one by one, rounded each time",
        _low_task_in_turn,
        low=True,
        tasks=True,
    ),
}


def ways(given: Given) -> list[str]:
    """Return which arithmetics there are for what is given."""
    narrow = given.stored in ("BF16", "F16")
    return [
        name
        for name, way in WAYS.items()
        if (narrow or not way.low)
        and (given.base is not None or not way.tasks)
        and (name != "between" or _two(given))
    ]


def _two(given: Given) -> bool:
    return len(given.terms) == 2 and abs(sum(w for w, _ in given.terms) - 1) < 1e-9


#: How far a written coefficient may lie from the fitted one: sums in bfloat16 bias it.
_NEAR = 0.006


def written(coefficients: Sequence[float], errors: Sequence[float]) -> list[tuple[float, ...]]:
    """Return what a person may have written for these, the roundest first, themselves last.

    >>> written([0.57150, 0.42851], [0.00005, 0.00005])[0]
    (0.5714285714285714, 0.42857142857142855)
    >>> written([0.6003, 0.3997], [1e-4, 1e-4])[0]
    (0.6, 0.4)
    """
    found: dict[tuple[float, ...], None] = {}
    for snap in (_to(20), _fraction, _to(100), _to(1000)):
        tried = tuple(snap(c) for c in coefficients)
        if all(
            abs(a - b) <= max(_NEAR, 4 * e)
            for a, b, e in zip(tried, coefficients, errors, strict=True)
        ):
            found.setdefault(tried)
    return [*found, tuple(coefficients)]


def _to(parts: int) -> Callable[[float], float]:
    return lambda c: round(c * parts) / parts


def _fraction(c: float) -> float:
    return float(Fraction(c).limit_denominator(12))
