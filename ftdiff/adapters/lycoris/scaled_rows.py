"""The base's rows or columns multiplied by one plus a learned number, as LyCORIS' (IA)³ does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array, LazyTensor, matrix_shape


@dataclass(frozen=True)
class Multiplied:
    """ΔW = W ∘ w along the rows, or along the input columns.

    Parameters
    ----------
    factors
        A number for each output, or for each input (which covers its whole kernel); zero changes
        nothing.
    columns
        The factors are the inputs'.
    """

    factors: LazyTensor
    columns: bool = False

    def make(self, base: LazyTensor) -> MultipliedRule:
        """Read the factors."""
        factors = self.factors.read().astype(np.float32).reshape(-1)
        if not self.columns:
            return MultipliedRule(factors[:, None], by_row=True)
        kernel = matrix_shape(base.shape)[1] // max(1, factors.size)
        return MultipliedRule(np.repeat(factors, kernel)[None, :], by_row=False)


@dataclass(frozen=True, eq=False)
class MultipliedRule:
    """The rule of `Multiplied`."""

    factors: Array
    by_row: bool

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for these rows."""
        factors = self.factors[start : start + len(W)] if self.by_row else self.factors
        dW: Array = W * factors
        return dW
