"""What is asked of one matrix on a worker; numbers and short vectors come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from ftdiff.comparison import executors, windows
from ftdiff.comparison.executors import Work, Workplace
from ftdiff.comparison.journal import kept_as
from ftdiff.comparison.structure.matrices import Matrix, tuned_of
from ftdiff.errors import attempt
from ftdiff.formats.quantised.rounding import Rounding
from ftdiff.metrics.linalg import tail as ranks
from ftdiff.metrics.linalg.tail import Tail
from ftdiff.metrics.records.directions import Direction, directions
from ftdiff.metrics.records.slopes import Slope
from ftdiff.metrics.records.stored_rows import COLUMNS, FEW, StoredRows, stored_rows
from ftdiff.metrics.records.structure import Structure, structure

R = TypeVar("R")

#: Matrices that one task looks at.
_BUNDLE = 8
#: Bytes that looking at one holds: two dozen arrays of its few rows in float64.
HELD = 24 * 8 * FEW * COLUMNS
#: Roles of matrices that write to the residual stream, and of those that read it.
_WRITES, _READS = {"o", "down"}, {"q", "k", "v", "qkv", "up", "gate", "gate_up"}
#: Of a matrix whose rows may be scaled, what is read of it: the search is long.
_SCALED_ROWS, _SCALED_COLUMNS = 48, 384
#: What is left of ΔW beyond the ranks that are tried, each row's part along its base's taken out,
#: is less than this share where rows are scaled and little else: dense changes have .3 and more.
_BEYOND = 0.15
#: What the rank leaves without the scales, in times the floor: with them it leaves four at most. A
#: change whose spectrum decays needs none, and one of scales alone is no DoRA.
_GAIN = 12.0


for _name_of, _record in (
    ("tail", Tail), ("slope", Slope), ("direction", Direction), ("rounding", Rounding),
):  # fmt: skip
    kept_as(_name_of)(_record)


@kept_as("look")
@dataclass(frozen=True, eq=False)
class Look:
    """What a few rows of a matrix show; see `Structure`."""

    tail: Tail | None
    low: bool
    entries: int
    lead: tuple[float, float] = (0.0, 0.0)
    steps: tuple[int, int, int] = (0, 0, 0)
    zeros: tuple[int, int, int] = (0, 0, 0)
    rows_apart: tuple[int, int] = (0, 0)
    columns_apart: tuple[int, int] = (0, 0)

    @property
    def blurred(self) -> bool:
        """Whether rounding hides its rank."""
        return self.tail is not None and (self.tail.blurred or not self.tail.rank)

    @property
    def sound(self) -> bool:
        """Whether its spectrum tells anything."""
        return self.tail is not None and not self.blurred


@dataclass(frozen=True, eq=False)
class Seen(Look):
    """What a few rows of this matrix show."""

    matrix: Matrix = field(kw_only=True)


def look(
    matrices: Sequence[Matrix],
    at: Workplace,
    *,
    most: int = FEW,
    onto: Rounding | None = None,
    ranks_only: bool = False,
) -> list[Seen]:
    """Look at a few rows of each; what cannot be read is left out.

    Parameters
    ----------
    matrices, at
        What, and where.
    most
        Rows of each.
    onto
        Changes are against the base, rounded to this.
    ranks_only
        Nothing else is looked for: directions, steps, zeros and lines are 0.
    """
    found = run(matrices, partial(_seen, most=most, onto=onto, ranks_only=ranks_only), at)
    pairs = zip(matrices, found, strict=True)
    return [Seen(**vars(one), matrix=matrix) for matrix, one in pairs if isinstance(one, Look)]


def slopes(matrices: Sequence[Matrix], at: Workplace) -> list[tuple[Slope, ...]]:
    """Measure the slopes of each on what its base would be rounded to."""
    return [one for one in run(matrices, _slopes, at) if isinstance(one, tuple)]


def edits(matrices: Sequence[Matrix], at: Workplace) -> list[tuple[Matrix, tuple[Direction, ...]]]:
    """Measure the leading direction of each, and whether it is taken out of the base."""
    found = run(matrices, _directions, at)
    pairs = zip(matrices, found, strict=True)
    return [(matrix, one) for matrix, one in pairs if isinstance(one, tuple) and one]


def scaled(matrices: Sequence[Matrix], at: Workplace) -> list[int]:
    """Return the rank of each beside a scale of each output row; -1 where it is not low."""
    return [one for one in run(matrices, _scaled, at) if isinstance(one, int)]


def run(
    matrices: Sequence[Matrix], work: Callable[[Matrix], R], at: Workplace
) -> list[R | str | None]:
    """Do the work on each matrix, in the order given, or say why it cannot be done.

    What it returns is kept where a journal is, if its class is registered for that.
    """
    if not matrices:
        return []
    attempted: Work[Matrix, R | str | None] = Work(
        "structure", partial(_attempted, work=work), _name, _cost, memory=_held
    )
    tasks = [matrices[i : i + _BUNDLE] for i in range(0, len(matrices), _BUNDLE)]
    return executors.run(attempted, tasks, at.executor, at.progress)


def _attempted(matrix: Matrix, work: Callable[[Matrix], R]) -> R | str | None:
    with np.errstate(all="ignore"):
        return attempt(matrix.address.name, partial(work, matrix))


def _seen(matrix: Matrix, most: int, onto: Rounding | None, ranks_only: bool) -> Look | None:
    change = matrix.change
    if onto is None:
        found = structure(change.recipe, change.base, matrix.shape, matrix.index, most=most)
    else:
        rows = stored_rows(
            change.recipe, change.base, matrix.shape, matrix.index, most=most, onto=onto
        )
        found = Structure(rows, change.recipe, change.base, matrix.index)
    if found.rows is None:
        return None
    tail = found.tail
    seen = Look(
        tail=None if tail is None else replace(tail, squares=tail.squares.astype(np.float32)),
        low=tail is not None and found.is_low(tail.rank),
        entries=found.rows.W.size,
    )
    if ranks_only:
        return seen
    return replace(
        seen,
        lead=found.lead,
        steps=found.steps,
        zeros=found.zeros,
        rows_apart=found.rows_apart,
        columns_apart=found.columns_apart,
    )


def _slopes(matrix: Matrix) -> tuple[Slope, ...]:
    change = matrix.change
    return structure(change.recipe, change.base, matrix.shape, matrix.index).slopes


def _directions(matrix: Matrix) -> tuple[Direction, ...]:
    at = matrix.address
    reads = at.role in _READS or at.block in ("embed", "head")
    sides = ("writes",) if at.role in _WRITES else ("reads",) if reads else ("writes", "reads")
    return directions(tuned_of(matrix), matrix.change.base, matrix.shape, sides)


def _scaled(matrix: Matrix) -> int:
    change = matrix.change
    rows = stored_rows(change.recipe, change.base, matrix.shape, matrix.index)
    if rows is None or not rows.change.any():
        return -1
    few = slice(None, _SCALED_ROWS), slice(None, _SCALED_COLUMNS)
    part = StoredRows(rows.W[few], rows.M[few], rows.dtype, rows.shape)
    if not _rows_may_be_scaled(part):
        return -1
    rank = ranks.scaled_rank(part.stored, part.W)
    if not rank:
        return -1
    left = ranks.tail(part.stored, uneven=False).squares[rank]
    return rank if left >= _GAIN * (part.stored.floor + part.stored.floor_error) else -1


def _rows_may_be_scaled(rows: StoredRows) -> bool:
    """Say whether little is left beyond a low rank once each row's part along its base is out."""
    W, D = rows.W, rows.change
    squares = (W * W).sum(axis=1, keepdims=True)
    along = (W * D).sum(axis=1, keepdims=True)
    c = np.divide(along, squares, out=np.zeros_like(along), where=squares > 0)
    values = np.square(np.linalg.svd(D - c * W, compute_uv=False))
    most = min(ranks.most(rows.W.shape), len(values) // 2)
    whole = float(np.square(D).sum())
    return bool(values[most:].sum() <= _BEYOND * whole)


def _name(matrix: Matrix) -> str:
    return matrix.address.name


def _held(matrix: Matrix) -> int:
    return HELD + windows.made(matrix.change.base, matrix.change.recipe)


def _cost(matrix: Matrix) -> int:
    return min(matrix.change.size, 1 << 18)
