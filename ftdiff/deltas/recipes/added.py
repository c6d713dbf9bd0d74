"""A change that does not depend on the base: ΔW in its own form, made from lazy tensors."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from ftdiff.deltas.forms import Delta, LowRank
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.deltas.recipes.recipe import Entries, Recipe
from ftdiff.errors import BadAdapter
from ftdiff.tensors import Array, LazyTensor, matrix_shape


class Maker(Hashable, Protocol):
    """Lazy tensors and resolved numbers that become ΔW when they are read; frozen, picklable."""

    def make(self) -> Delta:
        """Read what is needed and return ΔW, oriented as the base is stored."""


@dataclass(frozen=True)
class Product:
    """ΔW = scaling · B A, or its transpose.

    Parameters
    ----------
    A, B
        r × in (× kernel) and out × r (× 1…).
    scaling
        α/r, α/√r, …: resolved when the adapter was opened.
    transposed
        The base is stored in × out.
    """

    A: LazyTensor
    B: LazyTensor
    scaling: float
    transposed: bool = False

    def make(self) -> LowRank:
        """Read both factors as float32."""
        A, B = matrix(self.A), matrix(self.B)
        if self.transposed:
            A, B = np.ascontiguousarray(B.T), np.ascontiguousarray(A.T)
        return LowRank(B, A, self.scaling)


def matrix(tensor: LazyTensor) -> Array:
    """Read a factor as a float32 matrix: its first axis against all the others.

    Raises
    ------
    BadAdapter
        It is stored in integers: whatever scales them is not known.
    """
    if tensor.dtype.startswith(("I", "U", "BOOL")):
        raise BadAdapter(f"a factor stored as {tensor.dtype}: no file says what scales it")
    return tensor.read().astype(np.float32).reshape(matrix_shape(tensor.shape))


@dataclass(frozen=True)
class Added:
    """A base tensor to which ΔW is added.

    Parameters
    ----------
    shape
        The base tensor's.
    maker
        What becomes ΔW.
    form
        low-rank, kronecker, ….
    view
        Rows × columns of ΔW, where they are not output channels against all the rest: experts
        that are stacked in one tensor.
    """

    shape: tuple[int, ...]
    maker: Maker
    form: str = "low-rank"
    dtype: str = ""
    view: tuple[int, int] | None = None

    def fitted(self, shape: tuple[int, ...]) -> Recipe | None:
        """Return itself for its own shape: no part of it can be had alone."""
        return self if shape == self.shape else None

    def tiles(self, base: LazyTensor | None) -> int:
        """Return the number of runs of rows; one without a base, when nothing is streamed."""
        rows, columns = self.view or matrix_shape(self.shape)
        return 1 if base is None else tiling.count(rows, tiling.rows_per_tile(columns))

    def moments(self, base: LazyTensor | None, tiles: range | None = None) -> Moments:
        """Measure ‖ΔW‖² in closed form, and what needs W in one pass over the base.

        Rows of ΔW are formed a cache-sized tile at a time, in a fixed order of operations. The
        closed form of the whole is counted with the first tile.
        """
        delta = _made(self.maker)
        rows, columns = self.view or matrix_shape(self.shape)
        if base is None:
            counts = {"nonfinite_tuned": delta.nonfinite()}
            return Moments(rows * columns, {"delta_sq": (delta.sumsq(),)}, counts=counts)
        step = tiling.rows_per_tile(columns)
        start, stop = tiling.span(tiles, step, rows)
        total = Moments()
        for first in range(start, stop, step):
            last = min(first + step, stop)
            dW = delta.rows(first, last)
            with base.window(first * columns, last * columns) as W:
                total += tiling.added(W, dW, base.dtype)
        return total.replacing(delta_sq=delta.sumsq() if start == 0 else 0.0)

    def entries(self, base: LazyTensor | None) -> Entries:
        """Multiply out the rows that hold the entries that are asked for."""
        columns = (self.view or matrix_shape(self.shape))[1]
        delta = _made(self.maker)

        def read(start: int, stop: int) -> Array:
            first, last = tiling.enclosing(start, stop, columns)
            dW = delta.rows(first, last).reshape(-1)
            return dW[start - first * columns : stop - first * columns].astype(np.float64)

        return read

    def delta(self, base: LazyTensor | None) -> Delta:
        """Return ΔW in its own form."""
        return _made(self.maker)


@lru_cache(maxsize=8)
def _made(maker: Maker) -> Delta:
    return maker.make()
