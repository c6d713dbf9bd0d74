"""ΔW entry by entry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.forms.singular_values import values
from ftdiff.tensors import Array


@dataclass(frozen=True, eq=False)
class Dense:
    """ΔW entry by entry.

    Parameters
    ----------
    dW
        Rows × columns.
    """

    dW: Array  # noqa: N815 - the formula's name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns."""
        rows, columns = self.dW.shape
        return rows, columns

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F, the squares added exactly."""
        return math.fsum(np.square(self.dW[np.isfinite(self.dW)], dtype=np.float64))

    def squares(self, axis: int) -> Array:
        """Return the squared norm of every row (axis 0) or column (axis 1)."""
        finite = np.where(np.isfinite(self.dW), self.dW, 0)
        total: Array = np.square(finite, dtype=np.float64).sum(axis=1 - axis)
        return total

    def nonfinite(self) -> int:
        """Return how many entries are not finite."""
        return int(self.dW.size - np.isfinite(self.dW).sum())

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows in float32."""
        return np.ascontiguousarray(self.dW[start:stop], np.float32)

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩, the products added exactly."""
        return math.fsum(np.multiply(W, self.dW, dtype=np.float64).ravel())

    def singular_values(self) -> Array:
        """Return all min(rows, columns) singular values (LAPACK, float64)."""
        return values(self.dense())

    def dense(self) -> Array:
        """Return ΔW as float64."""
        return self.dW.astype(np.float64)
