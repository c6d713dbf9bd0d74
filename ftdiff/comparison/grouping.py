"""Rows of a table in groups, one group after the other, and what each group has of a column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from ftdiff.comparison.frame import Columns, length
from ftdiff.deltas.moments import total
from ftdiff.tensors import Array

#: What tells a group apart: its value of each column, None where that is missing.
Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Grouping:
    """Rows by group.

    Attributes
    ----------
    rows
        The rows of the first group, then of the second, and so on; ascending in each.
    ends
        Where the rows of each group end, after a 0.
    """

    rows: Array
    ends: Array

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[Array]:
        ends = self.ends.tolist()
        return (self.rows[ends[i] : ends[i + 1]] for i in range(len(self)))

    @cached_property
    def sizes(self) -> Array:
        """How many rows each group has."""
        return np.diff(self.ends)

    def each(self, of_group: Array) -> Array:
        """Return what a group has for each of its rows."""
        return np.repeat(of_group, self.sizes)

    def only(self, these: Array) -> Grouping:
        """Return the same groups without some rows, those that are false in `rows`' order."""
        return Grouping(self.rows[these], _ends(these)[self.ends])

    def where(self, mask: Array) -> Grouping:
        """Return the same groups with those rows alone for which a column is true."""
        return self.only(mask[self.rows])

    def count(self, mask: Array) -> Array:
        """Return for how many rows of each group a column is true."""
        counted: Array = np.diff(_ends(mask[self.rows])[self.ends])
        return counted

    def lists(self, values: Array, groups: Array) -> Iterator[tuple[int, list[Any]]]:
        """Return the values that some of the groups have of a column, by the group's place."""
        held, ends = values[self.rows].tolist(), self.ends.tolist()
        return ((i, held[ends[i] : ends[i + 1]]) for i in groups.tolist())

    def totals(self, values: Array) -> Array:
        """Add up a column of float64 in each group: exact, and rounded once; NaN of none."""
        held, found = values[self.rows], np.full(len(self), np.nan)
        first = self.ends[:-1]
        one, two = self.sizes == 1, self.sizes == 2
        found[one] = held[first[one]] + 0.0  # never -0
        with np.errstate(all="ignore"):
            found[two] = held[first[two]] + held[first[two] + 1] + 0.0  # rounded once as it is
        for i, some in self.lists(values, np.flatnonzero(self.sizes > 2)):
            found[i] = total(some)
        return found


def grouped(
    columns: Columns, keys: Sequence[str], order: Callable[[str], Callable[[Any], Any] | None]
) -> tuple[list[Key], Grouping]:
    """Return every group's key and the rows, ascending by key, missing values last.

    Parameters
    ----------
    columns
        Any.
    keys
        The columns by whose values they are grouped; one group holds all where there are none.
    order
        By a column's name, what its values are sorted by; None for the values themselves.
    """
    rows = np.arange(length(columns))
    if not keys:
        return [()], Grouping(rows, np.array([0, len(rows)]))
    values = [_known(columns[name]) for name in keys]
    ranks = np.array([_ranks(some, order(name)) for some, name in zip(values, keys, strict=True)])
    sorted_: Array = np.lexsort(ranks[::-1]).astype(np.int64)
    ranks = ranks[:, sorted_]
    starts = np.flatnonzero(np.r_[True, (ranks[:, 1:] != ranks[:, :-1]).any(axis=0)][: len(rows)])
    named = [*zip(*([some[i] for i in sorted_[starts]] for some in values), strict=True)]
    return named, Grouping(sorted_, np.append(starts, len(rows)))


def _ends(mask: Array) -> Array:
    """Return how many are true before each place, and in all."""
    return np.concatenate([[0], np.cumsum(mask)])


def _known(values: Array) -> list[Any]:
    """Return a column's values, None where one is missing."""
    if values.dtype == np.float64:
        return [None if value != value else value for value in values.tolist()]
    held: list[Any] = values.tolist()
    return held


def _ranks(values: Sequence[Any], order: Callable[[Any], Any] | None) -> list[int]:
    """Return each value's place among all that there are, in their order; None is the last."""
    ascending = sorted({*values} - {None}, key=order)
    rank = {value: i for i, value in enumerate([*ascending, None])}
    return [rank[value] for value in values]
