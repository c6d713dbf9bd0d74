"""The same few rows of both sides of a stored change: what tells its structure for little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.formats.quantised.rounding import Rounding
from ftdiff.metrics.linalg.stored_change import Rounded, rounded
from ftdiff.tensors import DTYPES, Array, LazyTensor, is_quantised, precision
from ftdiff.tensors.turned import costs_a_matrix

#: Rows and columns that are read of a large matrix, and rows where a rank is looked for that so
#: few do not show.
FEW, COLUMNS, MANY = 64, 384, 384
#: Rows that lie side by side: a multiple of these begins a block of any rounding to few bits.
_RUN = 16
#: Matrices with less on a side have no structure to speak of.
_LEAST = 4


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Rows of one matrix of both sides.

    Attributes
    ----------
    W, M
        The base's in float64, and the tuned ones as they are stored; rows × columns.
    dtype
        In which the tuned ones are stored.
    shape
        Of the matrix.
    """

    W: Array
    M: Array
    dtype: str
    shape: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether this is all of the matrix."""
        return bool(self.W.shape == self.shape)

    @cached_property
    def change(self) -> Array:
        """ΔW as it is stored, float64."""
        found: Array = self.M.astype(np.float64) - self.W
        return found

    @cached_property
    def stored(self) -> Rounded:
        """ΔW, and what each entry can have been before M was rounded."""
        return rounded(self.W, self.M, self.dtype)


def is_stored(recipe: Recipe, base: LazyTensor | None) -> bool:
    """Say whether a change is of two stored matrices, the tuned one in a dtype that rounds."""
    if base is None or not isinstance(recipe, Replaced) or len(recipe.shape) < 2:
        return False
    tuned = recipe.tensor
    floats = tuned.dtype in ("BF16", "F16", "F32", "F64") and precision(base.dtype) is not None
    return floats and base.shape == tuned.shape and not is_quantised(tuned)


def stored_rows(
    recipe: Recipe,
    base: LazyTensor | None,
    shape: tuple[int, int],
    index: int = 0,
    *,
    most: int = FEW,
    onto: Rounding | None = None,
) -> StoredRows | None:
    """Read rows of both sides; None where there are no two stored matrices, or no finite entries.

    Parameters
    ----------
    recipe, base
        The change, and what it changes.
    shape, index
        Rows × columns of the matrix, and which one it is where a tensor holds several.
    most
        Rows at most. Matrices with as many rows show the same ones.
    onto
        The base is taken rounded to this.
    """
    if not is_stored(recipe, base) or min(shape) < _LEAST:
        return None
    assert base is not None and isinstance(recipe, Replaced)
    if costs_a_matrix(base) or costs_a_matrix(recipe.tensor):
        return None
    columns = middle(shape[1], COLUMNS if most <= FEW else 2 * COLUMNS)
    W = _read(base, shape, index, most, columns, onto)
    M = _read(recipe.tensor, shape, index, most, columns)
    there = M.astype(np.float64)
    if W is None or not (np.isfinite(W).all() and np.isfinite(there).all()):
        return None
    return StoredRows(W.astype(np.float64), M, recipe.tensor.dtype, shape)


def runs_of(rows: int, most: int = FEW) -> list[range]:
    """Return the rows that are read of so many: all, or runs that are spread.

    >>> runs_of(96), [run.start for run in runs_of(4096)]
    ([range(0, 96)], [0, 1360, 2720, 4080])
    """
    if rows <= most + _RUN * 2:
        return [range(rows)]
    last, count = rows // _RUN - 1, most // _RUN
    starts = [i * last // (count - 1) * _RUN for i in range(count)]
    return [range(start, start + _RUN) for start in starts]


def middle(columns: int, most: int = COLUMNS) -> range:
    """Return the columns that are read of so many: all, or a run that begins a block of 128.

    >>> middle(96), middle(4096)
    (range(0, 96), range(1792, 2176))
    """
    if columns <= most + most // 2:
        return range(columns)
    start = (columns - most) // 2 // 128 * 128
    return range(start, start + most)


def _read(
    tensor: LazyTensor,
    shape: tuple[int, int],
    index: int,
    most: int,
    columns: range,
    onto: Rounding | None = None,
) -> Array:
    rows, width = shape
    first, parts = index * rows * width, []
    top = None
    if onto is not None and onto.scale == "tensor":
        with tensor.window(first, first + rows * width) as flat:
            top = float(np.abs(flat.astype(np.float32)).max(initial=0.0))
    for run in runs_of(rows, most):
        with tensor.window(first + run.start * width, first + run.stop * width) as flat:
            block = flat.reshape(len(run), width)
            if onto is not None:
                exact = onto.of(block.astype(np.float64), top)
                if tensor.dtype == "BF16":  # a dequantised value is held in the base's dtype
                    exact = exact.astype(DTYPES[tensor.dtype]).astype(np.float64)
                block = exact
            parts.append(np.array(block[:, columns.start : columns.stop]))
    return np.concatenate(parts)
