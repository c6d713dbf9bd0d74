"""What spectral metrics are computed from: one matrix' singular values, and how they were had."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ftdiff.deltas.forms import Delta, Hadamard, Kronecker, LowRank
from ftdiff.deltas.forms.stacked import Stacked
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.errors import BadCall
from ftdiff.metrics.linalg.lanczos import leading
from ftdiff.metrics.linalg.noise_spectrum import edge, noise
from ftdiff.metrics.linalg.row_matrices import Changed, Matrix, Stored
from ftdiff.metrics.linalg.spectrum_curve import curve
from ftdiff.metrics.linalg.svd import singular_values
from ftdiff.metrics.linalg.uneven_noise import unevenness
from ftdiff.tensors import Array, LazyTensor

# With fewer singular values, the edge of the noise's bulk is not estimated.
_LEAST_BULK = 8


@dataclass(eq=False)
class Spectrum:
    """The singular values of ΔW, all of them or the largest.

    Attributes
    ----------
    shape
        Rows × columns.
    largest
        σ₁.
    sumsq
        Σσ², which is ‖ΔW‖²_F.
    method
        "factors", "svd", "gram" or "lanczos".
    bound
        Of the relative error of σ₁ (Lanczos), or of any value relative to σ₁ (the others).
    rank
        The inner dimension of the factors, where there are factors.
    base
        The matrix that changes.
    device
        The device of torch's that the Gram matrix was on; None for NumPy.
    base_bound
        Of the relative error of the base's σ₁, once that was asked for.
    change
        ΔW by rows, where its rows and columns are looked at for noise that is uneven.
    """

    shape: tuple[int, int]
    largest: float
    sumsq: float
    method: str
    bound: float
    rank: int | None = None
    base: Matrix | None = None
    whole: Array | None = field(default=None, repr=False)
    device: str | None = None
    change: Matrix | None = None
    base_bound: float | None = field(default=None, init=False)

    @property
    def values(self) -> Array:
        """All singular values that can differ from zero, largest first.

        Raises
        ------
        BadCall
            Only the largest was asked for: no entropy and no share is taken of a part.
        """
        if self.whole is None:
            raise BadCall('the whole spectrum was not measured: the metric needs "spectrum"')
        return self.whole

    @cached_property
    def base_largest(self) -> float:
        """σ₁ of the base, by Lanczos; NaN where there is none."""
        if self.base is None:
            return float("nan")
        found = leading(self.base)
        self.base_bound = float(found.bound[0])
        return float(found.values[0])

    @cached_property
    def edge(self) -> float:
        """What a singular value of noise with the same median would not exceed.

        Noise as uneven as the change's rows and columns are, where that matters: it only raises
        the edge. NaN where there is no bulk of noise: low-rank forms, and small matrices.
        """
        least = min(self.shape)
        if least < _LEAST_BULK or len(self.values) < least or not np.median(self.values) > 0:
            return float("nan")
        median = float(np.median(self.values))
        even = median / noise(*self.shape).median * edge(*self.shape)
        if self.change is None or self.largest <= even:
            return even
        sizes = unevenness(self.change)
        return median / sizes.median * sizes.edge

    def note(self) -> dict[str, Any]:
        """Return how it was measured: the method, its error bound, and the base's where used.

        The device too, where one was named and did the work; and `curve`, enough of the spectrum
        to draw it (see `ftdiff.metrics.linalg.spectrum_curve`), where all of it was measured.
        """
        note: dict[str, Any] = {"method": self.method, "bound": self.bound}
        if self.device is not None:
            note["device"] = self.device
        if self.base_bound is not None:
            note["base_bound"] = self.base_bound
        if self.whole is not None and np.isfinite(self.largest) and self.largest > 0:
            note["curve"] = curve(self.whole, self.edge, self.rank)
        return note


def spectrum(
    recipe: Recipe,
    base: LazyTensor | None,
    shape: tuple[int, int],
    index: int = 0,
    *,
    whole: bool = True,
    device: str | None = None,
) -> Spectrum:
    """Return the spectrum of one matrix of a change.

    Parameters
    ----------
    recipe, base
        The change, and what it changes.
    shape, index
        Rows × columns of the matrix, and which one it is where a tensor holds several.
    whole
        All singular values rather than the largest; from factors there are always all.
    device
        As in `singular_values`: factors and Lanczos are NumPy's in any case, since their work is
        small, and reading takes its time.
    """
    stored = None if base is None else Stored(base, shape, index)
    factored = factors(recipe, base, index)
    if factored is None or factored.shape != shape:
        return of_matrix(Changed(recipe, base, shape, index), stored, whole=whole, device=device)
    values = factored.singular_values()
    bound = max(shape) * float(np.finfo(np.float64).eps)
    rank = factored.rank if isinstance(factored, LowRank | Hadamard) else None
    return _of_values(shape, values, "factors", bound, stored, rank)


def of_matrix(
    matrix: Matrix, base: Matrix | None = None, *, whole: bool = True, device: str | None = None
) -> Spectrum:
    """Return the spectrum of a matrix that is read by rows."""
    if whole:
        values, bound, method = singular_values(matrix, device)
        where = device if method == "gram" else None
        found = _of_values(matrix.shape, values, method, bound, base, None, where)
        return replace(found, change=matrix)
    top = leading(matrix)
    largest, bound = float(top.values[0]), float(top.bound[0])
    return Spectrum(matrix.shape, largest, top.sumsq, "lanczos", bound, base=base)


def _of_values(
    shape: tuple[int, int],
    values: Array,
    method: str,
    bound: float,
    base: Matrix | None,
    rank: int | None,
    device: str | None = None,
) -> Spectrum:
    largest, sumsq = float(values[0]), float(np.square(values).sum())
    return Spectrum(shape, largest, sumsq, method, bound, rank, base, values, device)


def factors(recipe: Recipe, base: LazyTensor | None, index: int) -> Delta | None:
    """Return the form whose singular values cost no more than its factors; None for others."""
    if not isinstance(recipe, Added):
        return None
    delta = recipe.delta(base)
    if isinstance(delta, Stacked):
        return delta.parts[index]
    if isinstance(delta, Hadamard):
        return delta if delta.rank < min(delta.shape) else None
    return delta if isinstance(delta, LowRank | Kronecker) else None
