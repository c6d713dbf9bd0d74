"""What all pairs of many adapters will cost, told from headers before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from ftdiff.analyses.pairwise import Line
from ftdiff.comparison.progress import duration
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.deltas.recipes.held import stored

#: Multiplications of two stacked factors that a core does in a second (`tests/bench/many_rate.py`).
_RATE = 2e10
#: Seconds from which it is worth saying.
_LONG = 60.0


def multiplications(lines: Sequence[Line]) -> float:
    """Return how many multiplications the products of all factors with each other take.

    Of factors with r rows in all, r²/2 for each entry of a row. Changes that are stored are
    multiplied while they are read, and count nothing.
    """
    total = 0.0
    for line in lines:
        factors = [_factors(recipe) for recipe in line.recipes if isinstance(recipe, Added)]
        ranks = [rank for rank, _ in factors if rank]
        widths = [width for rank, width in factors if rank]
        total += sum(ranks) ** 2 / 2 * max(widths, default=0)
    return total


def kept(lines: Sequence[Line], measures: int) -> int:
    """Return about how many bytes are kept of all pairs: a few numbers of each, for each line."""
    return sum(8 * (3 + 2 * measures) * len(line.recipes) ** 2 for line in lines)


def rank_of(recipe: Recipe) -> int:
    """Return the rank of a product of two factors; 0 of other forms."""
    return _factors(recipe)[0]


def _factors(recipe: Recipe) -> tuple[int, int]:
    """Return the rank of a product of two factors and the sum of its sides; 0 of other forms."""
    shapes = [tensor.shape for tensor in stored(recipe) if len(tensor.shape) == 2]
    if len(shapes) != 2:
        return 0, 0
    (a, b), (c, d) = shapes
    for rank, sides in ((a, b + c), (b, a + d)):
        if {rank} <= {c, d} and sides:
            return rank, sides
    return 0, 0


def foretold(lines: Sequence[Line], names: Sequence[str], cores: int) -> str:
    """Return a sentence on what will take long; nothing where it will not."""
    work = multiplications(lines)
    seconds = work / _RATE / max(1, cores)
    if seconds < _LONG:
        return ""
    at = f"{cores} core{'s' if cores > 1 else ''}"
    return (
        f"all pairs of {len(names)} adapters take {work:.1e} multiplications, about "
        f"{duration(seconds)} on {at}; --against holds one of them against the others"
    )
