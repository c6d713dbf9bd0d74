"""ΔW as a product of two thin factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftdiff.deltas.forms.singular_values import values
from ftdiff.kernels import gram, product
from ftdiff.tensors import Array

#: A sum that cancels below this share of its terms is taken again from orthogonal factors.
_CANCELLED = 1e-6


@dataclass(frozen=True, eq=False)
class LowRank:
    """ΔW = scaling · B A, never multiplied out for norms, inner products or spectra.

    Parameters
    ----------
    B, A
        rows × r and r × columns, float32.
    scaling
        The factor in front, decided when the adapter was opened.

    Notes
    -----
    ‖BA‖² = Σ (BᵀB ∘ AAᵀ), two r×r matrices. The singular values of BA are those of R_B R_Aᵀ, from
    thin QR factorisations of B and Aᵀ (standard linear algebra; Golub and Van Loan, §5.4).
    """

    B: Array
    A: Array
    scaling: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns of the product."""
        return self.B.shape[0], self.A.shape[1]

    @property
    def rank(self) -> int:
        """The inner dimension r, an upper bound of the rank."""
        return int(self.A.shape[0])

    def transposed(self) -> LowRank:
        """Return the same as a base stores it that keeps in × out."""
        B, A = np.ascontiguousarray(self.A.T), np.ascontiguousarray(self.B.T)
        return LowRank(B, A, self.scaling)

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F in O((rows + columns) r²)."""
        if self.nonfinite():
            rows, columns = self.finite()
            A = np.ascontiguousarray(self.A[:, columns])
            return LowRank(self.B[rows], A, self.scaling).sumsq()
        if self.rank * self.rank > self.B.shape[0] * self.A.shape[1]:
            return math.fsum(np.square(self.dense()).ravel())  # smaller than the r×r matrices
        terms = (gram(np.ascontiguousarray(self.B.T)) * gram(self.A)).ravel()
        total = math.fsum(terms)
        if total < _CANCELLED * math.fsum(abs(terms)):
            total = math.fsum(np.square(self._core()).ravel())
        return self.scaling * self.scaling * total

    def squares(self, axis: int) -> Array:
        """Return the squared norm of every row (axis 0) or column (axis 1) in O(rows · r²).

        With Aᵀ = QR, row b of B gives ‖bA‖ = ‖bRᵀ‖: no cancellation, as in Σ (B AAᵀ) ∘ B.
        """
        rows, columns = self.finite()
        B, A = np.where(rows[:, None], self.B, 0), np.where(columns, self.A, 0)
        thin, other = (B, A.T) if axis == 0 else (A.T, B)
        turned = thin.astype(np.float64) @ _right(other).T
        total: Array = self.scaling * self.scaling * np.square(turned).sum(axis=1)
        return total

    def nonfinite(self) -> int:
        """Return how many entries are not finite: every row of B or column of A that is not."""
        if self._all_finite:
            return 0
        rows, columns = self.finite()
        finite = int(rows.sum()) * int(columns.sum())
        return int(self.B.shape[0] * self.A.shape[1]) - finite

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows in float32, multiplied in a fixed order."""
        dW = np.empty((stop - start, self.A.shape[1]), np.float32)
        product(self.B[start:stop], self.A, dW, scale=self.scaling)
        return dW

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩ = scaling · Σ ((BᵀW) ∘ A)."""
        projected = self.B.T.astype(np.float64) @ W.astype(np.float64)
        return self.scaling * math.fsum((projected * self.A).ravel())

    def singular_values(self) -> Array:
        """Return min(r, rows, columns) singular values."""
        return abs(self.scaling) * values(self._core())

    def dense(self) -> Array:
        """Return ΔW multiplied out in float64."""
        return self.scaling * (self.B.astype(np.float64) @ self.A.astype(np.float64))

    def finite(self) -> tuple[Array, Array]:
        """Return which rows, and which columns, hold finite entries where both are true."""
        if self._all_finite:
            return np.ones(self.B.shape[0], bool), np.ones(self.A.shape[1], bool)
        rows: Array = np.logical_and.reduce(np.isfinite(self.B), axis=1)
        columns: Array = np.logical_and.reduce(np.isfinite(self.A), axis=0)
        return rows, columns

    @cached_property
    def _all_finite(self) -> bool:
        return bool(np.isfinite(self.B).all() and np.isfinite(self.A).all())

    def _core(self) -> Array:
        return _right(self.B) @ _right(self.A.T).T


def _right(M: Array) -> Array:
    """Return the triangular factor of M = QR."""
    return np.asarray(np.linalg.qr(M.astype(np.float64), mode="r"))
