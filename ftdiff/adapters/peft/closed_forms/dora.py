"""DoRA: W + ΔL, rescaled so that every output has the magnitude that was learned for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ftdiff.adapters.family import Module
from ftdiff.adapters.peft.closed_forms.lora_factors import Factors, times
from ftdiff.adapters.peft.closed_forms.lora_resumed import rows_of
from ftdiff.deltas.forms import Delta
from ftdiff.deltas.recipes import Maker, Rebuilt, Recipe, Unreadable
from ftdiff.deltas.recipes import tiles as tiling
from ftdiff.tensors import Array, LazyTensor, matrix_shape, numel

_SUFFIX = "lora_magnitude_vector"
#: Entries that are worked on at a time: a fast cache holds them in float64.
_NEAR = 1 << 15


def recipe(module: Module, found: Factors, copy: LazyTensor | None = None) -> Recipe:
    """Return the recipe of a weight under DoRA.

    Parameters
    ----------
    module, found
        The module and its factors.
    copy
        The base weight as the adapter saved it, which PEFT starts from; None where it saved none.
    """
    magnitude = module.tensors.get(_SUFFIX)
    if magnitude is None:
        reason = f"{module.path}: use_dora is set, but the adapter has no {_SUFFIX}"
        return Unreadable(found.shape, reason)
    turned = found.product.transposed
    out = matrix_shape(found.shape)[1 if turned else 0]
    if numel(magnitude.shape) != out:
        return Unreadable(
            found.shape,
            f"{module.path}: {_SUFFIX} ({times(magnitude)}) does not fit {out} outputs",
        )
    if copy is not None and copy.shape != found.shape:
        reason = f"{module.path}: the saved base_layer ({times(copy)}) does not fit the factors"
        return Unreadable(copy.shape, reason)
    return Rebuilt(
        found.shape,
        Dora(found.product, magnitude, turned, copy),
        "dora",
        f"{module.path}: DoRA rescales the sum of base and adapter",
        rowwise=copy is not None or not turned,
    )


@dataclass(frozen=True)
class Dora:
    """ΔW = (m / ‖W + ΔL‖) (W + ΔL) − W, norms and magnitudes for each output channel.

    Parameters
    ----------
    maker
        What becomes ΔL, scaling included, oriented as the base is stored.
    magnitude
        m, as many as there are outputs.
    columns
        Magnitudes belong to columns of the stored weight, or to runs of columns as long as a
        kernel. Their norms need a pass over the weight before the first row is known.
    copy
        The weight that the adapter starts from, where it saved one; else the base's.

    Notes
    -----
    Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, eq. 5, as PEFT merges it: the
    norm is that of the sum, scaling included.
    """

    maker: Maker
    magnitude: LazyTensor
    columns: bool = False
    copy: LazyTensor | None = None

    def make(self, base: LazyTensor) -> DoraRule:
        """Read the factors and magnitudes; norms of columns are taken in one pass."""
        added = self.maker.make()
        m = self.magnitude.read().astype(np.float64).reshape(-1)
        if not self.columns:
            return DoraRule(added, m, None, self.copy)
        start = base if self.copy is None else self.copy
        sums = _column_sq(start, added).reshape(m.size, -1)
        with np.errstate(all="ignore"):
            factor = m / np.sqrt(sums.sum(axis=1))
        return DoraRule(added, None, np.repeat(factor, sums.shape[1]), self.copy)


@dataclass(frozen=True, eq=False)
class DoraRule:
    """The rule of `Dora`: magnitudes by row, or factors by column that are known already."""

    added: Delta
    magnitude: Array | None
    factor: Array | None
    copy: LazyTensor | None

    def rows(self, W: Array, start: int) -> Array:
        """Return ΔW for these rows, a few at a time, so that every step stays in cache."""
        stop = start + len(W)
        dW = self.added.rows(start, stop)
        origin = W if self.copy is None else rows_of(self.copy, start, stop)
        with np.errstate(all="ignore"):  # a zero row has no direction: the result is not finite
            for first, last in _runs(len(W), max(1, _NEAR // max(1, W.shape[1]))):
                part, dL = origin[first:last], dW[first:last]
                tuned = part + dL
                factor = self._factor(tuned, start + first)
                dL *= factor.astype(np.float32)
                np.multiply(part, (factor - 1.0).astype(np.float32), out=tuned)
                dL += tuned
        if self.copy is not None:
            dW += origin - W
        return dW

    def _factor(self, tuned: Array, start: int) -> Array:
        """Return m / ‖W + ΔL‖ for these rows, one number a row or one a column."""
        if self.magnitude is None:
            assert self.factor is not None
            return self.factor[None, :]
        norms = np.sqrt(np.square(tuned, dtype=np.float64).sum(axis=1))
        factor: Array = self.magnitude[start : start + len(tuned)] / norms
        return factor[:, None]


def _column_sq(tensor: LazyTensor, added: Delta) -> Array:
    """Return Σ (W + ΔL)² down every column, tile by tile in the order of the file."""
    rows, columns = matrix_shape(tensor.shape)
    total = np.zeros(columns)
    for start, stop in _runs(rows, tiling.rows_per_tile(columns)):
        tile = rows_of(tensor, start, stop) + added.rows(start, stop)
        total += np.square(tile, dtype=np.float64).sum(axis=0)
    return total


def _runs(rows: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, step):
        yield start, min(start + step, rows)
