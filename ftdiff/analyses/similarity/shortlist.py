"""Which of very many adapters may be among the most alike: bounds from sketches that are kept.

A sketch of a change is some thousand numbers: uᵀ ΔW v of random signs u and v, some of each tensor.
The mean of the products of two sketches estimates ⟨ΔW₁, ΔW₂⟩ without bias, and their spread tells
the standard error of it. Whoever is left out lies more than `_SIGMAS` of them below the last that
is shown; where the sketch cannot tell, the changes themselves are multiplied. An adapter is read
once for its sketch, which is kept in the cache folder under the identity of its files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ftdiff.analyses.pairwise import Line, Lineup, run
from ftdiff.comparison.progress import Progress
from ftdiff.deltas.forms.factor_sketch import sketches
from ftdiff.deltas.recipes.stored_factors import StoredFactors, is_stored
from ftdiff.errors import FtdiffError
from ftdiff.metrics.linalg import cache
from ftdiff.tensors import Array

#: How many others are worth a sketch.
MANY = 64
#: Numbers of a whole change, and the fewest and most of one tensor.
_NUMBERS, _FEWEST, _MOST = 4096, 16, 128
#: Standard errors within which an estimate is believed.
_SIGMAS = 5.0
#: Adapters that are sketched at a time, and rows of their factors.
_AT_ONCE, _ROWS = 128, 800
#: Counted up when a sketch changes its meaning.
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Bounds:
    """What is known of the cosines of the first of a lineup with each of the others.

    Attributes
    ----------
    cosine, error
        float64, n: the estimate, and how far it may be off. NaN where a change is not sketched;
        −1 and 0 where there is no cosine.
    """

    cosine: Array
    error: Array

    def undecided(self, exact: Array, count: int) -> list[int]:
        """Return who may be among the `count` most alike, and is to be measured.

        Parameters
        ----------
        exact
            float64, n: the cosines that are known, NaN of the others.
        count
            How many are asked for.
        """
        known = ~np.isnan(exact)
        least = np.where(known, exact, self.cosine - self.error)
        sure = np.sort(least[~np.isnan(least)])[::-1]
        last = sure[count - 1] if len(sure) >= count else -np.inf
        possible = np.isnan(self.cosine) | (self.cosine + self.error >= last)
        return np.flatnonzero(possible & ~known).tolist()

    def told(self, exact: Array) -> dict[str, float | None]:
        """Return what is known of those that were not measured: none is above `below`."""
        left = np.isnan(exact) & ~np.isnan(self.cosine)
        above = (self.cosine + self.error)[left]
        return {"below": float(above.max()) if len(above) else None, "standard_errors": _SIGMAS}


@dataclass(frozen=True, eq=False)
class Sketch:
    """Of one tensor of n adapters.

    Attributes
    ----------
    numbers
        float32, n × k.
    own_sq
        float64, n: ‖ΔW‖²; NaN where float32 does not do.
    """

    numbers: Array
    own_sq: Array


def bounds(
    lineup: Lineup, executor: Executor | None, progress: Progress | None, say: Callable[[str], None]
) -> Bounds:
    """Return bounds of all cosines, from sketches that are kept or made.

    Parameters
    ----------
    lineup
        The one, then the others.
    executor, progress
        As in `ftdiff.similarity`.
    say
        Told how many are sketched first.
    """
    n, lines = len(lineup.names), lineup.lines
    count = _count(len(lines))
    numbers = np.zeros((n, len(lines), count), np.float32)
    own_sq = np.full((n, len(lines)), np.nan)
    able = [i for i in range(n) if all(_is_product(line, i) for line in lines)]
    missing = []
    for i in able if 0 in able else ():
        held = _Kept(lineup, i, count)
        if not held.load(numbers[i], own_sq[i]):
            missing.append(held)
    if missing:
        say(f"{len(missing):,} of {n:,} adapters are read once for a sketch, which is kept")
    for start in range(0, len(missing), _AT_ONCE):
        some = missing[start : start + _AT_ONCE]
        _make(lines, [held.number for held in some], numbers, own_sq, executor, progress)
        for held in some:
            held.keep(numbers[held.number], own_sq[held.number])
    return _estimated(numbers, own_sq)


def _count(lines: int) -> int:
    """Return how many numbers a tensor has: a power of two, so that a few lines more change none.

    >>> _count(224), _count(7)
    (16, 128)
    """
    each = max(1, _NUMBERS // max(1, lines))
    return min(max(1 << (each.bit_length() - 1), _FEWEST), _MOST)


def _is_product(line: Line, i: int) -> bool:
    recipe = line.recipes[i]
    return i not in line.unknown and (recipe is None or is_stored(recipe))


class _Kept:
    """Where the sketch of one adapter is kept."""

    def __init__(self, lineup: Lineup, number: int, count: int) -> None:
        self.number = number
        self._lines: list[int] = []
        facts: list[object] = []
        known = True
        for at, line in enumerate(lineup.lines):
            recipe = line.recipes[number]
            if recipe is None or not is_stored(recipe):
                continue
            one = recipe.maker
            self._lines.append(at)
            known = known and None not in (one.A.storage, one.B.storage)
            sides = [(side.storage, side.dtype, side.shape) for side in (one.A, one.B)]
            facts.append((line.address.name, line.shape, sides, one.scaling, one.transposed))
        self._identity = ("sketch", _VERSION, count, facts) if known else None
        self._shapes = {"numbers": (len(facts), count), "own_sq": (len(facts),)}

    def load(self, numbers: Array, own_sq: Array) -> bool:
        """Fill a row of each line from what is kept, and say whether it was."""
        own_sq[:] = 0.0
        found = None if self._identity is None else cache.kept(self._identity, self._shapes)
        if found is None:
            return False
        numbers[self._lines], own_sq[self._lines] = found["numbers"], found["own_sq"]
        return True

    def keep(self, numbers: Array, own_sq: Array) -> None:
        """Keep what was made, if it could be."""
        made = {"numbers": numbers[self._lines], "own_sq": own_sq[self._lines]}
        if self._identity is not None and all(np.isfinite(part).all() for part in made.values()):
            cache.keep(self._identity, made)


def _make(
    lines: Sequence[Line],
    chosen: Sequence[int],
    numbers: Array,
    own_sq: Array,
    executor: Executor | None,
    progress: Progress | None,
) -> None:
    """Sketch some adapters, line by line on any workers."""
    some = [
        replace(line, base=None, recipes=tuple(line.recipes[i] for i in chosen)) for line in lines
    ]
    at = [k for k, line in enumerate(some) if any(line.recipes)]
    task = partial(_sketched, count=numbers.shape[2])
    lost = partial(_lost, count=numbers.shape[2])
    found = run([some[k] for k in at], task, lost, executor, progress)
    for k, one in zip(at, found, strict=True):
        numbers[chosen, k], own_sq[chosen, k] = one.numbers, one.own_sq


def _sketched(line: Line, count: int) -> Sketch:
    """Sketch one line on a worker, some adapters at a time."""
    n = len(line.recipes)
    numbers, own_sq = np.zeros((n, count), np.float32), np.zeros(n)
    alike: dict[str, list[tuple[int, int]]] = {}
    for i, recipe in enumerate(line.recipes):
        if recipe is not None and is_stored(recipe):
            alike.setdefault(recipe.maker.A.dtype, []).append((i, recipe.maker.A.shape[0]))
    for members in alike.values():
        some, rows = list[int](), 0
        for i, rank in members:
            if some and rows + rank > _ROWS:
                _fill(line, some, numbers, own_sq)
                some, rows = [], 0
            some.append(i)
            rows += rank
        _fill(line, some, numbers, own_sq)
    return Sketch(numbers, own_sq)


def _fill(line: Line, some: Sequence[int], numbers: Array, own_sq: Array) -> None:
    stored = StoredFactors.of([recipe for i in some if (recipe := line.recipes[i]) is not None])
    assert stored is not None
    try:
        stack = stored.stack(range(len(some)))
        numbers[some] = sketches(stack, line.address.name, numbers.shape[1])
        own_sq[some] = stack.own_sq()
    except (FtdiffError, MemoryError):  # whoever measures them says which, and why
        own_sq[some] = np.nan


def _lost(line: Line, why: str, count: int) -> Sketch:
    n = len(line.recipes)
    return Sketch(np.zeros((n, count), np.float32), np.full(n, np.nan))


def _estimated(numbers: Array, own_sq: Array) -> Bounds:
    """Return estimates of the cosines of the first with all others."""
    n, count = len(numbers), numbers.shape[2]
    cosine, error = np.full(n - 1, np.nan), np.full(n - 1, np.nan)
    squares = own_sq.sum(axis=1)
    one = numbers[0].astype(np.float64)
    for j in range(1, n):
        size = np.sqrt(squares[0] * squares[j])
        if np.isfinite(size) and size > 0:
            terms = one * numbers[j]
            cosine[j - 1] = terms.mean(axis=1).sum() / size
            error[j - 1] = _SIGMAS * np.sqrt(terms.var(axis=1, ddof=1).sum() / count) / size
        elif size == 0:
            cosine[j - 1], error[j - 1] = -1.0, 0.0
    return Bounds(cosine, error)
