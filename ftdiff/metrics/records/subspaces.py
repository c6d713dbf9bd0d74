"""What geometric metrics are computed from: the leading directions of base, tuned and change."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.metrics.linalg.alignment_bounds import exact_share, largest_share
from ftdiff.metrics.linalg.cache import remembered
from ftdiff.metrics.linalg.lanczos import Leading, leading
from ftdiff.metrics.linalg.row_matrices import Changed, Matrix, Stored, Sum, runs
from ftdiff.metrics.linalg.svd import SMALL_SIDE, singular_values
from ftdiff.metrics.records.spectra import factors
from ftdiff.tensors import Array, LazyTensor

#: How many leading directions are looked at, as in the papers' own code.
K = 10


@dataclass(eq=False)
class Geometry:
    """One matrix of a change beside the base that it changes; each part is made when it is used.

    Attributes
    ----------
    tensor, index
        The base's tensor, and which of its matrices this is.
    base, change
        W and ΔW, by rows.
    low
        ΔW's factors, where it has them: no part of it is then multiplied out for products.
    bounds
        By part, the bound of the relative error of its singular values.
    device
        Where exact spectra are worked out, as in `singular_values`.
    """

    tensor: LazyTensor
    index: int
    base: Matrix
    change: Matrix
    low: LowRank | None = None
    bounds: dict[str, float] = field(default_factory=dict)
    device: str | None = None

    @property
    def k(self) -> int:
        """How many leading directions there are: ten, or as many as the matrix has."""
        return min(K, *self.base.shape)

    @cached_property
    def base_leading(self) -> Leading:
        """The base's leading directions, remembered on disk."""

        def make() -> dict[str, Array]:
            found = leading(self.base, self.k)
            parts = {"values": found.values, "left": found.left, "right": found.right}
            return parts | {"bound": found.bound, "facts": np.array([found.sumsq, found.steps])}

        (rows, columns), k = self.base.shape, self.k
        shapes = {"values": (k,), "left": (rows, k), "right": (columns, k), "bound": (k,)}
        what = f"leading {k} of {self._which}"
        kept = remembered(self.tensor, what, {**shapes, "facts": (2,)}, make)
        sumsq, steps = kept["facts"]
        found = (kept["values"], kept["left"], kept["right"], kept["bound"], float(sumsq))
        return self._noted("base", Leading(*found, int(steps)))

    @cached_property
    def tuned_leading(self) -> Leading:
        """The tuned matrix' leading directions."""
        return self._noted("tuned", leading(Sum(self.base, self.change), self.k))

    @cached_property
    def change_leading(self) -> Leading:
        """ΔW's leading directions: from the factors, or by Lanczos."""
        return self._noted("change", _of_change(self.low, self.change, self.k))

    @cached_property
    def base_values(self) -> Array:
        """All singular values of the base, remembered on disk."""

        def make() -> dict[str, Array]:
            values, bound, _ = singular_values(self.base, self.device)
            return {"values": values, "bound": np.array(bound)}

        shapes = {"values": (min(self.base.shape),), "bound": ()}
        kept = remembered(self.tensor, f"values of {self._which}", shapes, make)
        self.bounds["base_values"] = float(kept["bound"])
        return kept["values"]

    @cached_property
    def tuned_values(self) -> Array:
        """All singular values of the tuned matrix."""
        values, bound, _ = singular_values(Sum(self.base, self.change), self.device)
        self.bounds["tuned_values"] = bound
        return values

    @cached_property
    def rows(self) -> tuple[Array, Array, Array]:
        """‖W‖², ‖ΔW‖² and ⟨W, ΔW⟩ of every row."""
        parts = []
        for run in runs(self.base):
            W, dW = self.base.read(*run), self.change.read(*run)
            parts.append([(W * W).sum(axis=1), (dW * dW).sum(axis=1), (W * dW).sum(axis=1)])
        base_sq, delta_sq, inner = (np.concatenate(column) for column in zip(*parts, strict=True))
        return base_sq, delta_sq, inner

    def change_times(self, V: Array) -> Array:
        """Return ΔW V."""
        if self.low is not None:
            B, A = (factor.astype(np.float64) for factor in (self.low.B, self.low.A))
            product: Array = self.low.scaling * (B @ (A @ V))
            return product
        return np.concatenate([self.change.read(*run) @ V for run in runs(self.change)])

    def times_change(self, U: Array) -> Array:
        """Return Uᵀ ΔW."""
        if self.low is not None:
            B, A = (factor.astype(np.float64) for factor in (self.low.B, self.low.A))
            product: Array = self.low.scaling * ((U.T @ B) @ A)
            return product
        return _left(self.change, U)

    def base_between(self, U: Array, V: Array) -> Array:
        """Return Uᵀ W V."""
        return np.asarray(_left(self.base, U) @ V)

    def shares(self, left: Array, below: float) -> Array:
        """Return how much of each column is along one left singular vector of the base.

        A lower bound where that is not below `below`, else an upper bound.
        """
        shares = np.square(self.base_leading.left.T @ left).max(axis=0)
        open_ = shares < below  # the others lie along a direction that is known
        if open_.any():
            rows, columns = self.base.shape
            if rows > columns or rows <= SMALL_SIDE:
                shares[open_] = exact_share(self.base, left[:, open_])
            else:
                shares[open_] = largest_share(self.base, left[:, open_], below)
        return np.asarray(shares)

    def note(self) -> dict[str, Any]:
        """Return the bound of each part that was used."""
        return {f"{part}_bound": bound for part, bound in self.bounds.items()}

    @property
    def _which(self) -> str:
        return f"matrix {self.index} of {self.base.shape}"

    def _noted(self, part: str, found: Leading) -> Leading:
        self.bounds[part] = float(found.bound.max(initial=0.0))
        return found


def geometry(
    recipe: Recipe,
    base: LazyTensor,
    shape: tuple[int, int],
    index: int = 0,
    *,
    device: str | None = None,
) -> Geometry:
    """Return one matrix of a change beside the base's."""
    form = factors(recipe, base, index) if isinstance(recipe, Added) else None
    low = form if isinstance(form, LowRank) and form.shape == shape else None
    if low is not None and not (np.isfinite(low.B).all() and np.isfinite(low.A).all()):
        low = None
    W, dW = Stored(base, shape, index), Changed(recipe, base, shape, index)
    return Geometry(base, index, W, dW, low, device=device)


def _left(matrix: Matrix, U: Array) -> Array:
    total = np.zeros((U.shape[1], matrix.shape[1]))
    for start, stop in runs(matrix):
        total += U[start:stop].T @ matrix.read(start, stop)
    return total


def leading_directions(
    recipe: Recipe, base: LazyTensor | None, shape: tuple[int, int], index: int, k: int
) -> Leading:
    """Return the k leading directions of one matrix of a change: from its factors, or by Lanczos.

    Parameters
    ----------
    recipe, base
        The change, and what it changes.
    shape, index
        Rows × columns of the matrix, and which one it is where a tensor holds several.
    k
        How many; fewer where the matrix, or a product of factors, has fewer.
    """
    low = factors(recipe, base, index)
    thin = low if isinstance(low, LowRank) and low.shape == shape else None
    return _of_change(thin, Changed(recipe, base, shape, index), min(k, *shape))


def _of_change(low: LowRank | None, change: Matrix, k: int) -> Leading:
    if low is None:
        return leading(change, k)
    left, R = np.linalg.qr(low.B.astype(np.float64))
    right, L = np.linalg.qr(low.A.T.astype(np.float64))
    U, values, Q = np.linalg.svd(low.scaling * R @ L.T)
    k = min(k, len(values))
    bound = np.full(k, max(low.shape) * float(np.finfo(np.float64).eps))
    sumsq = float(np.square(values).sum())
    return Leading(values[:k], left @ U[:, :k], right @ Q[:k].T, bound, sumsq, 0)
