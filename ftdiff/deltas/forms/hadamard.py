"""ΔW as an entrywise product of two low-rank changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.forms.dense import Dense
from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.deltas.forms.singular_values import values
from ftdiff.kernels import gram
from ftdiff.tensors import Array

#: Entries of ΔW that are multiplied out at a time.
_TILE = 1 << 16


@dataclass(frozen=True, eq=False)
class Hadamard:
    """ΔW = scaling · (B₁A₁) ∘ (B₂A₂), never multiplied out but for tiles of rows.

    Parameters
    ----------
    P, Q
        B₁A₁ and B₂A₂, of the same shape.
    scaling
        The factor in front, decided when the adapter was opened.

    Notes
    -----
    The product has rank r₁r₂ at most: row i of its left factor is the Kronecker product of rows i
    of B₁ and B₂, column j of the right one that of columns j of A₁ and A₂ (the Khatri-Rao
    product; Hyeon-Woo, Ye-Bin and Oh, FedPara, ICLR 2022, proposition 1). Norms are taken from
    those factors where that is less work than the tiles are.
    """

    P: LowRank
    Q: LowRank
    scaling: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns of either side."""
        return self.P.shape

    @property
    def rank(self) -> int:
        """The product of the inner dimensions, an upper bound of the rank."""
        return self.P.rank * self.Q.rank

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F over the entries that are finite."""
        if self._thin():
            return self._factored().sumsq()
        return math.fsum(_squares(self.rows(*span)) for span in self._spans())

    def squares(self, axis: int) -> Array:
        """Return the squared norm of every row (axis 0) or column (axis 1)."""
        if self._thin():
            return self._factored().squares(axis)
        parts = [Dense(self.rows(*span)).squares(axis) for span in self._spans()]
        total: Array = np.concatenate(parts) if axis == 0 else np.sum(parts, axis=0)
        return total

    def nonfinite(self) -> int:
        """Return how many entries are not finite: every row or column of a side that is not."""
        sides = [side.finite() for side in (self.P, self.Q)]
        rows = int((sides[0][0] & sides[1][0]).sum())
        columns = int((sides[0][1] & sides[1][1]).sum())
        return self.shape[0] * self.shape[1] - rows * columns

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows in float32, multiplied in a fixed order."""
        dW = self.P.rows(start, stop)
        dW *= self.Q.rows(start, stop)
        dW *= np.float32(self.scaling)
        return dW

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩, a tile of rows at a time."""
        return math.fsum(float(np.vdot(W[i:j], self._dense(i, j))) for i, j in self._spans())

    def singular_values(self) -> Array:
        """Return min(r₁r₂, rows, columns) singular values."""
        if self.rank < min(self.shape):
            return self._factored().singular_values()
        return values(self.dense())

    def dense(self) -> Array:
        """Return ΔW multiplied out in float64."""
        return self._dense(0, self.shape[0])

    def factored(self) -> LowRank | None:
        """Return the same as one product in float64; None where its tiles are less work."""
        return self._factored() if self._thin() else None

    def _thin(self) -> bool:
        """Say whether the factored product is less work than the tiles are."""
        rows, columns = self.shape
        tiles = rows * columns * (self.P.rank + self.Q.rank)
        return self.rank * self.rank * (rows + columns) < tiles

    def _factored(self) -> LowRank:
        """Return the same as one product of inner dimension r₁r₂, in float64."""
        B = np.multiply(self.P.B[:, :, None], self.Q.B[:, None, :], dtype=np.float64)
        A = np.multiply(self.P.A[:, None, :], self.Q.A[None, :, :], dtype=np.float64)
        rows, columns = self.shape
        scaling = self.scaling * self.P.scaling * self.Q.scaling
        return LowRank(B.reshape(rows, self.rank), A.reshape(self.rank, columns), scaling)

    def _dense(self, start: int, stop: int) -> Array:
        P, Q = (LowRank(X.B[start:stop], X.A, X.scaling).dense() for X in (self.P, self.Q))
        return self.scaling * P * Q

    def _spans(self) -> Iterator[tuple[int, int]]:
        rows, columns = self.shape
        step = max(1, _TILE // max(1, columns))
        for start in range(0, rows, step):
            yield start, min(start + step, rows)


def _squares(dW: Array) -> float:
    finite = dW[np.isfinite(dW)]
    return float(gram(finite.reshape(1, -1))[0, 0])
