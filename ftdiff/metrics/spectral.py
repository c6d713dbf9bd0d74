"""In how many directions a change goes: metrics of the singular values of ΔW.

A metric takes a `Spectrum`, of one matrix, and returns a number. Where a tensor holds the matrices
of several experts, the tensor's number is the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ftdiff.metrics.linalg.noise_spectrum import Noise, noise
from ftdiff.metrics.records.spectra import Spectrum
from ftdiff.metrics.registry import Sums, metric
from ftdiff.tensors import Array


def _sd(s: Sums) -> Array:
    """Return the standard deviation of an entry, were the change noise."""
    deviation: Array = np.sqrt(s.delta_sq / s.numel)
    return deviation


def _law(take: Callable[[Noise], float]) -> Callable[[Sums], Array]:
    """Return a column of what unit noise of each shape has."""

    def column(s: Sums) -> Array:
        sides = zip(s.rows, s.columns, strict=True)
        return np.array(
            [take(noise(int(m), int(n))) if m > 0 and n > 0 else np.nan for m, n in sides]
        )

    return column


@metric(
    "spectral_norm",
    group="spectral",
    needs="top",
    label="σ₁(ΔW)",
    unit="weight",
    formula="σ₁(ΔW)",
    range="[0, ∞)",
    null="τ(√m + √n), τ the standard deviation of an entry",
    source="Frobenius' and spectral norm: Golub and Van Loan, §2.3; the edge of iid noise",
    expected=lambda s: _sd(s) * (np.sqrt(s.rows) + np.sqrt(s.columns)),
)
def spectral_norm(s: Spectrum) -> float:
    """How far the direction that changed most changed."""
    return s.largest


@metric(
    "relative_spectral",
    group="spectral",
    needs="top",
    label="σ₁(ΔW)/σ₁(W)",
    formula="σ₁(ΔW) / σ₁(W)",
    range="[0, ∞)",
    null="relative_norm, where the base is noise too; less, where a few directions carry the base",
    expected=lambda s: np.sqrt(s.delta_sq / s.base_sq),
)
def relative_spectral(s: Spectrum) -> float:
    """The largest change of a direction, against the base's largest."""
    return s.largest / s.base_largest if s.base_largest else np.nan


@metric(
    "nuclear_norm",
    group="spectral",
    needs="spectrum",
    label="Σσ(ΔW)",
    unit="weight",
    formula="Σ σ",
    range="[0, ∞)",
    null="τ times the mean of the Marchenko-Pastur law; 8/(3π) τ m√m where m = n",
    expected=lambda s: _sd(s) * _law(lambda law: law.nuclear)(s),
)
def nuclear_norm(s: Spectrum) -> float:
    """The singular values of the change, added up."""
    return float(s.values.sum())


@metric(
    "stable_rank",
    group="spectral",
    needs="top",
    label="stable rank",
    formula="‖ΔW‖²_F / σ₁²",
    range="[1, min(m, n)]",
    null="mn/(√m + √n)²: m/4 where m = n",
    source="Rudelson and Vershynin, Sampling from large matrices (2007)",
    expected=lambda s: s.rows * s.columns / (np.sqrt(s.rows) + np.sqrt(s.columns)) ** 2,
)
def stable_rank(s: Spectrum) -> float:
    """In how many directions the change goes, counted in units of the largest."""
    return s.sumsq / s.largest**2 if s.largest else np.nan


@metric(
    "effective_rank",
    group="spectral",
    needs="spectrum",
    label="effective rank (on σ)",
    formula="exp(−Σ p ln p), p = σ/Σσ",
    range="[1, min(m, n)]",
    null="that of the Marchenko-Pastur law: about 0.8 m where m = n",
    source="Roy and Vetterli, The effective rank (2007)",
    expected=_law(lambda law: law.effective_rank),
)
def effective_rank(s: Spectrum) -> float:
    """In how many directions the change goes, by the entropy of its singular values."""
    total = s.values.sum()
    if not total > 0:
        return np.nan
    p = s.values[s.values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


@metric(
    "utilisation",
    group="spectral",
    needs="spectrum",
    label="rank used",
    formula="effective_rank / r",
    range="(0, 1]",
    null="near 1 for random factors of r far below m and n",
    source="effective_rank against the factors' inner dimension",
    expected=lambda s: np.where(s.rows > 0, 1.0, np.nan),
)
def utilisation(s: Spectrum) -> float:
    """How much of its rank an adapter uses; none for what has no factors."""
    return effective_rank(s) / s.rank if s.rank else np.nan


@metric(
    "participation_ratio",
    group="spectral",
    needs="spectrum",
    label="participation ratio",
    formula="(Σσ²)² / Σσ⁴",
    range="[1, min(m, n)]",
    null="mn/(m + n): m/2 where m = n",
    source="second moment of XXᵀ for iid entries",
    expected=lambda s: s.rows * s.columns / (s.rows + s.columns),
)
def participation_ratio(s: Spectrum) -> float:
    """In how many directions the change goes, by how evenly they share its energy."""
    energy = s.values**2
    return float(energy.sum() ** 2 / np.square(energy).sum()) if s.largest else np.nan


@metric(
    "numerical_rank",
    group="spectral",
    needs="spectrum",
    label="rank (σ > 1e-6 σ₁)",
    formula="#{σ > 1e-6 σ₁}",
    range="[0, min(m, n)]",
    null="min(m, n)",
    expected=lambda s: np.minimum(s.rows, s.columns),
)
def numerical_rank(s: Spectrum) -> float:
    """How many singular values exceed a millionth of the largest."""
    return _above(s, 1e-6)


@metric(
    "numerical_rank_1e5",
    group="spectral",
    needs="spectrum",
    label="rank (σ > 1e-5 σ₁)",
    formula="#{σ > 1e-5 σ₁}",
    range="[0, min(m, n)]",
    null="min(m, n)",
    expected=lambda s: np.minimum(s.rows, s.columns),
)
def numerical_rank_1e5(s: Spectrum) -> float:
    """How many singular values exceed a hundred thousandth of the largest."""
    return _above(s, 1e-5)


@metric(
    "numerical_rank_1e4",
    group="spectral",
    needs="spectrum",
    label="rank (σ > 1e-4 σ₁)",
    formula="#{σ > 1e-4 σ₁}",
    range="[0, min(m, n)]",
    null="min(m, n)",
    expected=lambda s: np.minimum(s.rows, s.columns),
)
def numerical_rank_1e4(s: Spectrum) -> float:
    """How many singular values exceed a ten thousandth of the largest."""
    return _above(s, 1e-4)


def _above(s: Spectrum, threshold: float) -> float:
    if not np.isfinite(s.largest):
        return np.nan
    return float((s.values > threshold * s.largest).sum())


@metric(
    "rank_90",
    group="spectral",
    needs="spectrum",
    label="rank for 90%",
    formula="least k with Σ_(i≤k) σ² ≥ 0.90 Σσ²",
    range="[1, min(m, n)]",
    null="that of the Marchenko-Pastur law",
    source="the rank of the best approximation (Eckart and Young, 1936)",
    expected=_law(lambda law: law.rank_holding(0.90)),
)
def rank_90(s: Spectrum) -> float:
    """The least LoRA rank that holds 90 % of the squared change."""
    return _holding(s, 0.90)


@metric(
    "rank_95",
    group="spectral",
    needs="spectrum",
    label="rank for 95%",
    formula="least k with Σ_(i≤k) σ² ≥ 0.95 Σσ²",
    range="[1, min(m, n)]",
    null="that of the Marchenko-Pastur law",
    source="the rank of the best approximation (Eckart and Young, 1936)",
    expected=_law(lambda law: law.rank_holding(0.95)),
)
def rank_95(s: Spectrum) -> float:
    """The least LoRA rank that holds 95 % of the squared change."""
    return _holding(s, 0.95)


@metric(
    "rank_99",
    group="spectral",
    needs="spectrum",
    label="rank for 99%",
    formula="least k with Σ_(i≤k) σ² ≥ 0.99 Σσ²",
    range="[1, min(m, n)]",
    null="that of the Marchenko-Pastur law",
    source="the rank of the best approximation (Eckart and Young, 1936)",
    expected=_law(lambda law: law.rank_holding(0.99)),
)
def rank_99(s: Spectrum) -> float:
    """The least LoRA rank that holds 99 % of the squared change."""
    return _holding(s, 0.99)


def _holding(s: Spectrum, share: float) -> float:
    energy = np.cumsum(s.values**2)
    if not energy[-1] > 0:
        return np.nan
    return float(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12)) + 1)


@metric(
    "mp_excess",
    group="spectral",
    needs="spectrum",
    label="σ above the noise edge",
    formula="#{σ > edge}, the edge that of noise with the same median σ and as uneven",
    range="[0, min(m, n)]",
    null="0 for independent entries of variance r_i c_j: rows and columns may differ in size",
    source="Marchenko and Pastur (1967); Couillet and Hachem (2014) for uneven noise; Johnstone "
    "(2001), El Karoui (2007) for the edge's width",
    expected=lambda s: np.where(s.rows > 0, 0.0, np.nan),
)
def mp_excess(s: Spectrum) -> float:
    """How many directions stand out of the change's own noise; none for low-rank forms.

    Rows or columns that moved more than others are no structure. Where a few directions hold most
    of the change, they are in its rows' sizes too, and weak ones beside them may go uncounted.
    """
    bar = s.edge
    return float((s.values > bar).sum()) if np.isfinite(bar) else np.nan


@metric(
    "mp_excess_energy",
    group="spectral",
    needs="spectrum",
    label="energy above the noise edge",
    formula="Σ_(σ > edge) σ² / Σσ²",
    range="[0, 1]",
    null="0",
    source="as mp_excess",
    expected=lambda s: np.where(s.rows > 0, 0.0, np.nan),
)
def mp_excess_energy(s: Spectrum) -> float:
    """The share of the squared change in the directions that stand out of its own noise."""
    bar = s.edge
    return float((s.values[s.values > bar] ** 2).sum() / s.sumsq) if np.isfinite(bar) else np.nan
