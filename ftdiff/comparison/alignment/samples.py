"""A few rows of tensors that lie anywhere in a file: what tells two of them apart, or the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ftdiff.errors import attempt
from ftdiff.formats import Broken
from ftdiff.tensors import Array, LazyTensor, matrix_shape
from ftdiff.tensors.turned import costs_a_matrix

#: Entries of a row that are read, at most.
_WIDE = 2048
#: Where the rows lie, as shares of all.
_PLACES = (0.37, 0.81, 0.13, 0.62)


@dataclass(frozen=True, eq=False)
class Sample:
    """A few rows of one tensor.

    Attributes
    ----------
    values
        Their entries, float64.
    unit
        The same at norm 1; zeros where they have no direction: all zero, or not finite.
    """

    values: Array
    unit: Array

    @property
    def is_zero(self) -> bool:
        """Whether no entry has a value."""
        return not self.values.any()

    def cosine(self, other: Sample) -> float:
        """Return the cosine of both; 0 where one has no direction."""
        return float(self.unit @ other.unit)

    def equals(self, other: Sample) -> bool:
        """Say whether they are the same, entry by entry."""
        return bool(np.array_equal(self.values, other.values))


def sample(tensor: LazyTensor, rows: int) -> Sample | None:
    """Read rows of a matrix, each up to a width.

    None where it cannot be read, is no matrix, or lies so that a row costs as much as all of it.
    """
    if len(tensor.shape) < 2 or 0 in tensor.shape or isinstance(tensor, Broken):
        return None
    if costs_a_matrix(tensor):
        return None
    values = attempt("", lambda: _values(tensor, rows))
    if isinstance(values, str) or values.dtype.kind != "f":
        return None
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(values))
        known = 0.0 < norm < np.inf
        return Sample(values, values / norm if known else np.zeros_like(values))


def of_pair(base: LazyTensor, tuned: LazyTensor, rows: int) -> tuple[Sample, Sample] | None:
    """Read the same rows of both; None where one cannot be read."""
    one, other = sample(base, rows), sample(tuned, rows)
    return None if one is None or other is None else (one, other)


def is_same(base: LazyTensor, tuned: LazyTensor) -> bool:
    """Say, from where they are stored, whether two tensors are the same bytes."""
    return base.storage is not None and (base.storage, base.dtype) == (tuned.storage, tuned.dtype)


def _values(tensor: LazyTensor, rows: int) -> Array:
    count, width = matrix_shape(tensor.shape)
    return np.concatenate([*_rows(tensor, count, width, rows)])


def _rows(tensor: LazyTensor, count: int, width: int, rows: int) -> Iterable[Array]:
    for at in dict.fromkeys(int(place * count) for place in _PLACES[:rows]):
        with tensor.window(at * width, at * width + min(width, _WIDE)) as row:
            yield row.astype(np.float64) if row.dtype.kind not in "biu" else row.copy()
