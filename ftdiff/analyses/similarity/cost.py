"""What holding many fine-tunes against each other will cost, told from headers before it begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ftdiff.analyses.finding import counted
from ftdiff.analyses.pairwise import Line
from ftdiff.comparison.progress import duration
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.deltas.recipes.held import stored
from ftdiff.tensors import LazyTensor, nbytes, numel
from ftdiff.tensors.bounds import told

#: Multiplications that a core does in a second (`tests/bench/many_rate.py`).
_RATE = 3e10
#: Bytes that a disk gives in a second.
_DISK = 1.5e9
#: Seconds of a core for each entry of each fine-tune, beside the products.
_EACH = {"masks": 2e-9, "signs": 5e-8, "subspaces": 3e-8}
#: Seconds from which it is worth saying.
_LONG = 60.0
#: Rows of factors that are held against one at a time.
_BATCH = 128


def multiplications(lines: Sequence[Line]) -> float:
    """Return how many multiplications the products of all factors with each other take.

    Of factors with r rows in all, r²/2 for each entry of a row; of n stored changes n²/2 for each
    entry.
    """
    total = 0.0
    for line in lines:
        rows, width = _rows(line)
        total += rows**2 / 2 * width + _stored(line) ** 2 / 2 * numel(line.shape)
    return total


def kept(lines: Sequence[Line], measures: int) -> int:
    """Return about how many bytes are kept of all pairs: a few numbers of each, for each line."""
    return sum(8 * (3 + 2 * measures) * len(line.recipes) ** 2 for line in lines)


def _rows(line: Line) -> tuple[int, int]:
    """Return the rows of all factors, and how long they are."""
    factors = [_factors(recipe) for recipe in line.recipes if isinstance(recipe, Added)]
    return sum(rank for rank, _ in factors), max((width for _, width in factors), default=0)


def _stored(line: Line) -> int:
    """Return how many changes are read entry by entry."""
    return sum(recipe is not None and not isinstance(recipe, Added) for recipe in line.recipes)


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


def foretold(
    lines: Sequence[Line], names: Sequence[str], cores: int, measures: Collection[str] = ()
) -> str:
    """Return a sentence on what will take long; nothing where it will not.

    Parameters
    ----------
    lines, names
        What is measured, and of whom.
    cores
        How many tasks run at a time.
    measures
        What is measured beside the cosine.
    """
    work = multiplications(lines)
    entries = sum(numel(line.shape) * _entered(line, measures) for line in lines)
    more = sum(_EACH[name] for name in measures) * entries
    said = _said(f"all pairs of {len(names):,} fine-tunes", work, more, lines, cores)
    return f"{said}; --against holds one of them against the others" if said else ""


def foretold_against(lines: Sequence[Line], cores: int) -> str:
    """Return a sentence on one held against many, where that will take long; else nothing."""
    work = 0.0
    for line in lines:
        rows, width = _rows(line)
        work += rows * _BATCH / 2 * width + 5 * _stored(line) * numel(line.shape)
    others = max((len(line.recipes) for line in lines), default=1) - 1
    return _said(f"one against {counted(others, 'other')}", work, 0.0, lines, cores)


def _entered(line: Line, measures: Collection[str]) -> int:
    """Return of how many changes the entries are gone through; signs are of factors too."""
    changes = sum(recipe is not None for recipe in line.recipes)
    return changes if "signs" in measures else _stored(line)


def _said(what: str, work: float, more: float, lines: Sequence[Line], cores: int) -> str:
    size = sum(nbytes(one) for line in lines for recipe in line.recipes for one in _read(recipe))
    seconds = max((work / _RATE + more) / max(1, cores), size / _DISK)
    if seconds < _LONG:
        return ""
    return (
        f"{what}: about {duration(seconds)} on {cores} core{'s' if cores > 1 else ''} "
        f"({work:.1e} multiplications, {told(size)} to read)"
    )


def _read(recipe: Recipe | None) -> list[LazyTensor]:
    """Return the tensors of a change that lie in files."""
    return [] if recipe is None else [one for one in stored(recipe) if one.storage is not None]
