"""ΔW as a Kronecker product of two smaller changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.forms.protocol import Delta
from ftdiff.tensors import Array


@dataclass(frozen=True, eq=False)
class Kronecker:
    """ΔW = scaling · C ⊗ D, each of them in a form of its own.

    Parameters
    ----------
    C, D
        a × b and c × d; ΔW is ac × bd.
    scaling
        The factor in front, decided when the adapter was opened.

    Notes
    -----
    ‖C ⊗ D‖ = ‖C‖ ‖D‖, and the singular values are the products of theirs (Horn and Johnson,
    Topics in Matrix Analysis, §4.2).
    """

    C: Delta
    D: Delta
    scaling: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows × columns of the product."""
        (a, b), (c, d) = self.C.shape, self.D.shape
        return a * c, b * d

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F at the price of the two norms."""
        return self.scaling * self.scaling * self.C.sumsq() * self.D.sumsq()

    def squares(self, axis: int) -> Array:
        """Return the squared norm of every row (axis 0) or column (axis 1): products of theirs."""
        both = np.kron(self.C.squares(axis), self.D.squares(axis))
        total: Array = self.scaling * self.scaling * both
        return total

    def nonfinite(self) -> int:
        """Return how many entries are not finite: all but the products of two that are."""
        sizes = [side.shape[0] * side.shape[1] for side in (self.C, self.D)]
        finite = (sizes[0] - self.C.nonfinite()) * (sizes[1] - self.D.nonfinite())
        return sizes[0] * sizes[1] - finite

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows in float32: each entry is one product."""
        (c, d), (_, b) = self.D.shape, self.C.shape
        dW = np.empty((stop - start, b, d), np.float32)
        scaling = np.float32(self.scaling)
        at = start
        while at < stop:  # rows of one row of C
            i, first = divmod(at, c)
            last = min(c, first + stop - at)
            left = self.C.rows(i, i + 1) * scaling
            right = self.D.rows(first, last)
            into = dW[at - start : at - start + last - first]
            np.multiply(left[:, :, None], right[:, None, :], out=into)
            at += last - first
        return dW.reshape(stop - start, b * d)

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩ = scaling · ⟨Σ C_ik W_ik, D⟩, W_ik the c × d blocks of W."""
        (a, b), (c, d) = self.C.shape, self.D.shape
        C = self.C.dense()
        blocks = np.zeros((c, d))
        for i in range(a):
            rows = W[i * c : (i + 1) * c].astype(np.float64).reshape(c, b, d)
            blocks += np.tensordot(rows, C[i], axes=(1, 0))
        return self.scaling * self.D.inner(blocks)

    def singular_values(self) -> Array:
        """Return the products of the two sides' singular values."""
        if self.nonfinite():
            return np.full(min(self.shape), np.nan)
        pairs = np.outer(self.C.singular_values(), self.D.singular_values()).ravel()
        return abs(self.scaling) * np.sort(pairs)[::-1]

    def dense(self) -> Array:
        """Return ΔW multiplied out in float64."""
        dW: Array = self.scaling * np.kron(self.C.dense(), self.D.dense())
        return dW
