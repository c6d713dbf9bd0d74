"""The sums of every row, or of every column, of one change: streamed, in the fused loop."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ftdiff import kernels
from ftdiff.comparison.plan import Change
from ftdiff.deltas.moments import COLUMNS, COUNTS, MAXIMA, NULL, SUMS, TURNED
from ftdiff.deltas.off_grid import off_grid
from ftdiff.deltas.recipes import TILE, Added, Recipe, Replaced
from ftdiff.tensors import Array, LazyTensor, is_quantised, matrices, precision

#: Entries that are read at a time.
_STRIP = 4 * TILE
_ORDER = (*SUMS, *MAXIMA, *COUNTS, NULL)


@dataclass(frozen=True, eq=False)
class Lines:
    """Sums of parts that lie side by side: rows, columns, or groups of them.

    Attributes
    ----------
    sums
        float64, parts × sums (see `ftdiff.moments`: `SUMS`, `MAXIMA`, `COUNTS`); NaN for what
        was not measured.
    numel
        int64, the entries of each part.
    """

    sums: Array
    numel: Array

    def __len__(self) -> int:
        return len(self.numel)

    @staticmethod
    def place(name: str) -> int:
        """Return the column of `sums` that holds a sum."""
        return _ORDER.index(name)

    def column(self, name: str) -> Array:
        """Return one sum of every part."""
        found: Array = self.sums[:, _ORDER.index(name)]
        return found

    def columns(self) -> dict[str, Array]:
        """Return the frame's columns, `numel` among them."""
        known = {name: self.column(name) for name in COLUMNS if name in _ORDER}
        return {TURNED: np.full(len(self), np.nan), **known, "numel": self.numel}

    def grouped(self, labels: Array, groups: int) -> Lines:
        """Add up the parts that have the same label, from 0 to `groups` − 1."""
        total = np.zeros((groups, len(_ORDER)))
        for i, name in enumerate(_ORDER):
            if name in MAXIMA:
                np.maximum.at(total[:, i], labels, self.sums[:, i])
            else:
                total[:, i] = np.bincount(labels, self.sums[:, i], groups)
        numel = np.bincount(labels, self.numel, groups).astype(np.int64)
        return Lines(total, numel)


def measure(change: Change, axis: int) -> Lines:
    """Measure every row (axis 0) or column (axis 1) of one change.

    Experts that are stacked in one tensor lie one above the other; the trailing axes of a
    convolution are columns; a vector is one column. A change that has factors gives ‖ΔW‖² of rows
    and columns in closed form.

    Raises
    ------
    FtdiffError
        The change cannot be read, or needs a base that is not given.
    """
    count, height, columns = matrices(change.address.name, change.recipe.shape)
    rows = count * height
    length = (rows, columns)[axis]
    numel = np.full(length, (columns, rows)[axis], np.int64)
    if not rows * columns:
        return Lines(np.zeros((length, len(_ORDER))), numel)
    sums = _rows(change, rows, columns) if axis == 0 else _columns(change, rows, columns)
    if isinstance(change.recipe, Added):
        delta = change.recipe.delta(change.base)
        if delta.shape == (rows, columns):
            sums[:, _ORDER.index("delta_sq")] = delta.squares(axis)
    return Lines(sums, numel)


def _rows(change: Change, rows: int, columns: int) -> Array:
    step = max(1, _STRIP // columns)
    strips = [
        _strip(change, first * columns, min(first + step, rows) * columns, columns)
        for first in range(0, rows, step)
    ]
    return np.concatenate(strips)


def _columns(change: Change, rows: int, columns: int) -> Array:
    """Turn strips of rows, so that what was a column is a row of the fused loop."""
    step = max(1, _STRIP // columns)
    top = _ORDER.index(MAXIMA[0])
    total = np.zeros((columns, len(_ORDER)))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        found = _strip(change, first * columns, last * columns, last - first, turned=columns)
        largest = np.maximum(total[:, top], found[:, top])
        total += found
        total[:, top] = largest
    return total


def _strip(change: Change, start: int, stop: int, block: int, turned: int = 0) -> Array:
    """Return the sums of every `block` entries; of the transpose, if `turned` is its height."""
    base, recipe = change.base, change.recipe

    def flat(values: Array) -> Array:
        return np.ascontiguousarray(values.reshape(-1, turned).T).reshape(-1) if turned else values

    off = np.ones(-(-(stop - start) // block), bool)  # a merge would round all of it
    with ExitStack() as lent:
        W = None if base is None else flat(lent.enter_context(base.window(start, stop)))
        if isinstance(recipe, Replaced):
            tuned = flat(lent.enter_context(recipe.tensor.window(start, stop)))
            dtype = base.dtype if base is not None else ""
            found = kernels.sums(W, tuned, dtype, recipe.dtype, block=block)
            if W is not None:
                off = off_grid(W, dtype, recipe.dtype, block)
        elif base is None:
            dW = flat(recipe.entries(None)(start, stop))
            found = kernels.sums(dW, None, "F64", block=block)
        else:
            dW = flat(recipe.entries(base)(start, stop))
            facts = precision(base.dtype)
            least = facts[1] if facts else 0
            found = kernels.sums(
                W, dW, base.dtype, "F64", delta=True, least_exponent=least, block=block
            )
    null = np.where(off, found[0][:, SUMS.index("ulp_sq")], 0.0)
    return _named(np.column_stack([*found, null]), change)


def _named(found: Array, change: Change) -> Array:
    """Keep what was measured, under its own name; the rest is missing."""
    base, recipe = change.base, change.recipe
    kept = dict(zip(_ORDER, found.T, strict=True))
    if base is None:
        kept = _alone(kept, recipe.dtype)
    facts = precision(_rounded(base, recipe))
    if "ulp_sq" in kept:
        for name in ("ulp_sq", NULL):
            if facts is None:  # whole numbers are not rounded
                del kept[name]
            else:
                kept[name] = kept[name] * facts[0] ** 2
    missing = np.full(len(found), np.nan)
    return np.stack([kept.get(name, missing) for name in _ORDER], axis=1)


def _alone(found: dict[str, Array], dtype: str) -> dict[str, Array]:
    """Name what is known without a base: of tuned values, or of a change."""
    if dtype:
        return {name: found[name] for name in ("tuned_sq", "nonfinite_tuned")}
    return {
        "delta_sq": found["base_sq"],
        "delta_abs": found["base_abs"],
        "nonfinite_tuned": found["nonfinite_base"],
    }


def _rounded(base: LazyTensor | None, recipe: Recipe) -> str:
    """Return the dtype to which the tuned values are rounded; "" where few bits hide it."""
    tuned = recipe.tensor if isinstance(recipe, Replaced) else None
    if tuned is not None and any(is_quantised(side) for side in (base, tuned) if side is not None):
        return ""
    return recipe.dtype or (base.dtype if base is not None else "")
