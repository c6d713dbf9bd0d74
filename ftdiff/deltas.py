"""ΔW in the form it came in, answering for its own norm without being multiplied out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ftdiff.kernels import gram, product
from ftdiff.tensors import Array

#: A sum that cancels below this share of its terms is taken again from orthogonal factors.
_CANCELLED = 1e-6


class Delta(Protocol):
    """What every form of ΔW answers; arrays are float64."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns, as the base tensor's matrix view."""

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F over the entries that are finite."""

    def nonfinite(self) -> int:
        """Return how many entries are not finite."""

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows of ΔW in float32, the same bits on any machine."""

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩ for W of the same shape."""

    def singular_values(self) -> Array:
        """Return the singular values that can differ from zero, largest first."""

    def dense(self) -> Array:
        """Return ΔW multiplied out."""


@dataclass(frozen=True, eq=False)
class Dense:
    """ΔW entry by entry.

    Parameters
    ----------
    dW
        Rows × columns.
    """

    dW: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns."""
        rows, columns = self.dW.shape
        return rows, columns

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F, the squares added exactly."""
        return math.fsum(np.square(self.dW[np.isfinite(self.dW)], dtype=np.float64))

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
        return np.linalg.svd(self.dense(), compute_uv=False)

    def dense(self) -> Array:
        """Return ΔW as float64."""
        return self.dW.astype(np.float64)


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

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F in O((rows + columns) r²)."""
        if self.nonfinite():
            rows, columns = self._finite()
            A = np.ascontiguousarray(self.A[:, columns])
            return LowRank(self.B[rows], A, self.scaling).sumsq()
        terms = (gram(np.ascontiguousarray(self.B.T)) * gram(self.A)).ravel()
        total = math.fsum(terms)
        if total < _CANCELLED * math.fsum(abs(terms)):
            total = math.fsum(np.square(self._core()).ravel())
        return self.scaling * self.scaling * total

    def nonfinite(self) -> int:
        """Return how many entries are not finite: every row of B or column of A that is not."""
        rows, columns = self._finite()
        return self.B.shape[0] * self.A.shape[1] - int(rows.sum()) * int(columns.sum())

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows in float32, multiplied in a fixed order."""
        dW = np.empty((stop - start, self.A.shape[1]), np.float32)
        product(self.B[start:stop] * np.float32(self.scaling), self.A, dW)
        return dW

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩ = scaling · Σ ((BᵀW) ∘ A)."""
        projected = self.B.T.astype(np.float64) @ W.astype(np.float64)
        return self.scaling * math.fsum((projected * self.A).ravel())

    def singular_values(self) -> Array:
        """Return min(r, rows, columns) singular values."""
        return abs(self.scaling) * np.linalg.svd(self._core(), compute_uv=False)

    def dense(self) -> Array:
        """Return ΔW multiplied out in float64."""
        return self.scaling * (self.B.astype(np.float64) @ self.A.astype(np.float64))

    def _finite(self) -> tuple[Array, Array]:
        return np.isfinite(self.B).all(axis=1), np.isfinite(self.A).all(axis=0)

    def _core(self) -> Array:
        right_B = np.linalg.qr(self.B.astype(np.float64), mode="r")
        right_A = np.linalg.qr(self.A.T.astype(np.float64), mode="r")
        return right_B @ right_A.T
