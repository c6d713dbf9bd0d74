"""A change that depends on the base: rows rescaled, rows replaced, a norm restored."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from ftdiff.deltas.forms import Delta, Dense
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.recipes.recipe import Entries, Recipe, common_rows
from ftdiff.errors import BadAdapter
from ftdiff.tensors import Array, LazyTensor, matrix_shape


class Rule(Protocol):
    """What turns rows of W into rows of ΔW."""

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for the rows of W (float32, rows × columns) that begin at row `start`."""


class RuleMaker(Hashable, Protocol):
    """Lazy tensors and resolved numbers that become a rule when they are read; picklable."""

    def make(self, base: LazyTensor) -> Rule:
        """Read what is needed; may stream the base once, for what a rule must know beforehand."""


@dataclass(frozen=True)
class Rebuilt:
    """A base tensor whose change is a function of it, row by row.

    Parameters
    ----------
    shape
        The base tensor's.
    maker
        What becomes the rule.
    form
        rescaled, rows, …, for the frame.
    needs
        What the measuring needs the base for, in words, said where there is none.
    rowwise
        No row of the change depends on other rows of the base, so that the rows which two
        vocabularies share can be measured alone.
    saved
        The values that the file holds in place of the base's, where it holds some: what can be
        measured without a base.
    """

    shape: tuple[int, ...]
    maker: RuleMaker
    form: str
    needs: str
    dtype: str = ""
    rowwise: bool = False
    saved: LazyTensor | None = None

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return itself, or its first rows where no row depends on others."""
        if shape == self.shape:
            return self
        rows = common_rows(self.shape, shape) if self.rowwise else None
        return None if rows is None else replace(self, shape=(rows, *shape[1:]))

    def tiles(self, base: LazyTensor | None) -> int:
        """Return the number of runs of rows; one without a base, when nothing is streamed."""
        rows, columns = matrix_shape(self.shape)
        return 1 if base is None else tiling.count(rows, tiling.rows_per_tile(columns))

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Measure these rows in one pass over the base; without one, what the file holds of them.

        Raises
        ------
        BadAdapter
            There is no base, and the file holds no values in its place.
        """
        if base is None and self.saved is not None:
            values = np.ascontiguousarray(self.saved.read()).reshape(-1)
            return tiling.alone(values, self.saved.dtype)
        rule = self._rule(base)
        assert base is not None
        rows, columns = matrix_shape(self.shape)
        step = tiling.rows_per_tile(columns)
        start, stop = tiling.span(tiles, step, rows)
        total = Moments()
        for first in range(start, stop, step):
            last = min(first + step, stop)
            with base.window(first * columns, last * columns) as W:
                dW = rule.rows(W.astype(np.float32).reshape(last - first, columns), first)
                total += tiling.added(W, np.ascontiguousarray(dW, np.float32), base.dtype)
        return total

    def entries(self, base: LazyTensor | None) -> Entries:
        """Apply the rule to the rows that hold the entries that are asked for."""
        rule = self._rule(base)
        assert base is not None
        columns = matrix_shape(self.shape)[1]

        def read(start: int, stop: int) -> Array:
            first, last = tiling.enclosing(start, stop, columns)
            with base.window(first * columns, last * columns) as W:
                dW = rule.rows(W.astype(np.float32).reshape(last - first, columns), first)
            flat = np.ascontiguousarray(dW).reshape(-1)
            return flat[start - first * columns : stop - first * columns].astype(np.float64)

        return read

    def delta(self, base: LazyTensor | None) -> Delta:
        """Return ΔW entry by entry, float32."""
        rule = self._rule(base)
        assert base is not None
        W = base.read().astype(np.float32).reshape(matrix_shape(self.shape))
        return Dense(rule.rows(W, 0))

    def _rule(self, base: LazyTensor | None) -> Rule:
        if base is None:
            raise BadAdapter(f"{self.needs}; give the base")
        return _made(self.maker, base)


@lru_cache(maxsize=8)
def _made(maker: RuleMaker, base: LazyTensor) -> Rule:
    return maker.make(base)
