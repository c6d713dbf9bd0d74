"""Rows and columns that moved by themselves: tokens of a vocabulary, neurons of an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ftdiff.comparison.executors import Workplace
from ftdiff.comparison.structure.looks import Seen, run
from ftdiff.comparison.structure.matrices import Matrix, tuned_of
from ftdiff.metrics.records.stored_rows import runs_of
from ftdiff.tensors import Array, LazyTensor, numel, strip

#: The share of a matrix' rows, or columns, that may have moved for these to be an edit: a language
#: model's tokens that no text has stay where they are in any fine-tune.
_FEW = 0.05
#: The same of a matrix of layers that was not looked at: sparse training moves some entries of all.
_FEWEST = 0.002
#: Entries of a row, or a column, that moved, from which on it moved as a whole.
_WHOLE = 0.5
#: Entries across that are read of each row or column; lines that are named.
_ACROSS, _NAMED = 64, 16
#: Matrices that are passed over at most.
_MOST = 32


@dataclass(frozen=True)
class Lines:
    """The rows, or columns, of a matrix that moved, where all others are the base's."""

    matrix: Matrix
    axis: str
    places: tuple[int, ...]
    of: int

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        at = self.matrix.address
        return {
            "tensor": at.name, "block": at.block, "component": at.component, "layer": at.layer,
            "axis": self.axis, "count": len(self.places), "of": self.of,
            "places": [*self.places[:_NAMED]],
        }  # fmt: skip


def few_lines(matrices: Sequence[Matrix], seen: Sequence[Seen], at: Workplace) -> list[Lines]:
    """Find the matrices of which a few rows or columns moved, and nothing else.

    Only of those are all rows read, in a few columns, of which no more entries moved than so few
    rows have.
    """
    apart = {one.matrix.address.name for one in seen if one.rows_apart[0] or one.columns_apart[0]}
    known = {one.matrix.address.name for one in seen}
    near = [
        one
        for one in matrices
        if 0 < one.changed <= _FEW
        and one.shape[0] * one.shape[1] == numel(one.change.recipe.shape)
        and (one.address.name in apart or (one.address.name not in known and _tells(one)))
    ]
    found: list[Lines] = []
    for axis in ("rows", "columns"):
        left = [
            one for one in near if one.address.name not in {f.matrix.address.name for f in found}
        ]
        some = left[:_MOST]
        for matrix, lines in zip(some, run(some, partial(_moved, axis=axis), at), strict=True):
            if isinstance(lines, tuple):
                found.append(Lines(matrix, axis, *lines))
    return found


def _tells(matrix: Matrix) -> bool:
    """Say whether it is worth to pass over a matrix that was not looked at."""
    return matrix.changed <= _FEWEST or matrix.address.block in ("embed", "head")


def _moved(matrix: Matrix, axis: str) -> tuple[tuple[int, ...], int] | None:
    """Return which rows or columns moved, of how many, if nothing else did."""
    rows, columns = matrix.shape
    base, tuned = matrix.change.base, tuned_of(matrix).tensor
    assert base is not None
    if axis == "rows":
        start = max(0, (columns - _ACROSS) // 2)
        across = range(start, min(columns, start + _ACROSS))
        moved = _unequal(base, tuned, columns, [range(rows)], across)
    else:
        moved = _unequal(base, tuned, columns, runs_of(rows, _ACROSS), range(columns)).T
    share = moved.mean(axis=1)
    places = np.flatnonzero(share > 0)
    if not len(places) or len(places) > max(1, _FEW * len(share)):
        return None
    if (share[places] < _WHOLE).any():
        return None
    # every entry that moved, of all that sums counted, is in these lines
    room = len(places) * (columns if axis == "rows" else rows)
    entries = matrix.changed * rows * columns
    if not _WHOLE * room <= entries <= room * (1 + 1e-9):
        return None
    return tuple(int(place) for place in places), len(share)


def _unequal(
    base: LazyTensor, tuned: LazyTensor, width: int, runs: list[range], columns: range
) -> Array:
    parts = []
    for rows in runs:
        with strip(base, width, rows, columns) as W, strip(tuned, width, rows, columns) as M:
            parts.append(W.astype(np.float32) != M.astype(np.float32))
    return np.concatenate(parts)
