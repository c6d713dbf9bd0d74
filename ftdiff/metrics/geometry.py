"""Where a change goes, seen from the base's leading directions: metrics of `Geometry`.

A metric takes the `Geometry` of one matrix and returns a number; k is ten.
"""

from __future__ import annotations

import math

import numpy as np

from ftdiff.metrics.records.subspaces import Geometry, K
from ftdiff.metrics.registry import Sums, metric
from ftdiff.tensors import Array

#: A leading direction of W₁ is an intruder if no singular vector of W has a larger cosine with it.
EPSILON = 0.5
#: A singular value under this share of the largest is zero but for rounding, as in numerical_rank.
EMPTY = 1e-6


def _k(s: Sums) -> Array:
    return np.minimum(np.minimum(s.rows, s.columns), K)


@metric(
    "projection_energy",
    group="geometry",
    needs="geometry",
    label="energy in W's top-k block",
    formula="‖U_kᵀ ΔW V_k‖² / ‖ΔW‖², U_k and V_k of W",
    range="[0, 1]",
    null="k²/(mn)",
    expected=lambda s: _k(s) ** 2 / (s.rows * s.columns),
)
def projection_energy(g: Geometry) -> float:
    """The share of the squared change between the base's leading inputs and outputs."""
    change = g.times_change(g.base_leading.left)
    return _share(change @ g.base_leading.right, g)


@metric(
    "projection_energy_left",
    group="geometry",
    needs="geometry",
    label="energy in W's top-k outputs",
    formula="‖U_kᵀ ΔW‖² / ‖ΔW‖²",
    range="[0, 1]",
    null="k/m",
    expected=lambda s: _k(s) / s.rows,
)
def projection_energy_left(g: Geometry) -> float:
    """The share of the squared change that writes into the base's leading output directions."""
    return _share(g.times_change(g.base_leading.left), g)


@metric(
    "projection_energy_right",
    group="geometry",
    needs="geometry",
    label="energy in W's top-k inputs",
    formula="‖ΔW V_k‖² / ‖ΔW‖²",
    range="[0, 1]",
    null="k/n",
    expected=lambda s: _k(s) / s.columns,
)
def projection_energy_right(g: Geometry) -> float:
    """The share of the squared change that reads from the base's leading input directions."""
    return _share(g.change_times(g.base_leading.right), g)


def _share(part: Array, g: Geometry) -> float:
    return float(np.square(part).sum() / g.rows[1].sum())


@metric(
    "subspace_rotation_left",
    group="geometry",
    needs="geometry",
    label="turn of the top-k outputs",
    formula="√(mean sin² θ), θ the principal angles of the top-k left subspaces of W and W₁",
    range="[0, 1]",
    null="√(1 − k/m) for unrelated subspaces",
    source="Björck and Golub, Numerical methods for computing angles between subspaces (1973)",
    expected=lambda s: np.sqrt(1 - _k(s) / s.rows),
)
def subspace_rotation_left(g: Geometry) -> float:
    """How far the leading output directions turned."""
    return _turned(g.base_leading.left, g.tuned_leading.left)


@metric(
    "subspace_rotation_right",
    group="geometry",
    needs="geometry",
    label="turn of the top-k inputs",
    formula="√(mean sin² θ), θ the principal angles of the top-k right subspaces of W and W₁",
    range="[0, 1]",
    null="√(1 − k/n) for unrelated subspaces",
    source="Björck and Golub (1973)",
    expected=lambda s: np.sqrt(1 - _k(s) / s.columns),
)
def subspace_rotation_right(g: Geometry) -> float:
    """How far the leading input directions turned."""
    return _turned(g.base_leading.right, g.tuned_leading.right)


def _turned(before: Array, after: Array) -> float:
    """Return the root mean squared sine, from what of each direction is outside: no cancelling."""
    outside = after - before @ (before.T @ after)
    return float(np.sqrt(np.square(outside).sum() / before.shape[1]))


@metric(
    "intruder_dimensions",
    group="geometry",
    needs="geometry",
    label="intruder dimensions",
    formula="#{j ≤ k: max_i |⟨u_j(W₁), u_i(W)⟩| < 0.5}, i over every singular vector of W",
    range="[0, k]",
    null="0 for a change that is small against the gaps of W's spectrum",
    source="LoRA vs Full Fine-tuning: An Illusion of Equivalence; k = 10, ε = 0.5",
)
def intruder_dimensions(g: Geometry) -> float:
    """How many leading directions of W₁ are like none of W's; those that are proven so."""
    if not np.isfinite(g.tuned_leading.values).all():
        return np.nan
    return float((g.shares(g.tuned_leading.left, EPSILON**2) < EPSILON**2).sum())


@metric(
    "amplification",
    group="geometry",
    needs="geometry",
    label="amplification",
    formula="‖ΔW‖ / ‖U_rᵀ W V_r‖, U_r and V_r of ΔW, r at most k, those of σ > 1e-6 σ₁",
    range="[0, ∞)",
    null="relative_norm · √(mn)/r for directions that W does not know",
    source="Hu et al., LoRA (2021), §7.3",
)
def amplification(g: Geometry) -> float:
    """How much larger the change is than what the base has in the change's own directions.

    A direction of zero σ is none of the change's: what stands there is any basis of the rest.
    """
    leading = g.change_leading
    there = leading.values > EMPTY * leading.values.max(initial=0.0)
    if not there.any():
        return np.nan
    within = np.square(g.base_between(leading.left[:, there], leading.right[:, there])).sum()
    return float(np.sqrt(g.rows[1].sum() / within))


@metric(
    "spectrum_drift",
    group="geometry",
    needs="geometry",
    label="‖σ(W₁) − σ(W)‖/‖σ(W)‖",
    formula="‖σ(W₁) − σ(W)‖₂ / ‖σ(W)‖₂",
    range="[0, relative_norm]",
    null="√(1 + relative_norm²) − 1 where W is noise too",
    source="Mirsky (1960): never above relative_norm",
    cost="both whole spectra: min(m,n)² memory, mn·min(m,n) work",
    expected=lambda s: np.sqrt(1 + s.delta_sq / s.base_sq) - 1,
)
def spectrum_drift(g: Geometry) -> float:
    """How far the singular values moved, whatever became of their directions."""
    gap = np.linalg.norm(g.tuned_values - g.base_values)
    return float(gap / np.linalg.norm(g.base_values))


@metric(
    "magnitude_change",
    group="geometry",
    needs="geometry",
    label="ΔM (rows)",
    unit="weight",
    formula="mean |‖W₁,i‖ − ‖W_i‖| over output rows",
    range="[0, ∞)",
    null="mean of a folded normal: location √(‖W_i‖²+‖ΔW_i‖²) − ‖W_i‖, deviation ‖ΔW_i‖/√n",
    source="Liu et al., DoRA (2024), over the rows that PEFT normalises",
    cost="one pass",
    expected=lambda s: _folded(s),
)
def magnitude_change(g: Geometry) -> float:
    """By how much the norms of output rows changed."""
    base_sq, delta_sq, inner = g.rows
    before, after = np.sqrt(base_sq), np.sqrt(np.maximum(base_sq + 2 * inner + delta_sq, 0))
    longer = np.where(before + after == 0, 0.0, (2 * inner + delta_sq) / (before + after))
    return float(np.abs(longer).mean())


@metric(
    "direction_change",
    group="geometry",
    needs="geometry",
    label="ΔD (rows)",
    formula="mean (1 − cos(W_i, W₁,i)) over output rows",
    range="[0, 2]",
    null="1 − 1/√(1 + relative_norm²) for rows that are alike",
    source="Liu et al., DoRA (2024), over the rows that PEFT normalises",
    cost="one pass",
    expected=lambda s: 1 - 1 / np.sqrt(1 + s.delta_sq / s.base_sq),
)
def direction_change(g: Geometry) -> float:
    """By how much output rows turned; rows that are zero on either side are left out."""
    base_sq, delta_sq, inner = g.rows
    tuned_sq = np.maximum(base_sq + 2 * inner + delta_sq, 0)
    there = (base_sq != 0) & (tuned_sq != 0)
    before, after = np.sqrt(base_sq[there]), np.sqrt(tuned_sq[there])
    longer = (2 * inner[there] + delta_sq[there]) / (before + after)
    turned = (delta_sq[there] - longer**2) / (2 * before * after)
    return float(np.clip(turned, 0, 2).mean()) if there.any() else np.nan


def _folded(s: Sums) -> Array:
    m0, step = np.sqrt(s.base_sq / s.rows), np.sqrt(s.delta_sq / s.rows)
    mean, deviation = np.sqrt(m0**2 + step**2) - m0, step / np.sqrt(s.columns)
    ratio = mean / deviation
    erf = np.array([math.erf(x / math.sqrt(2)) for x in ratio])
    folded: Array = deviation * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + mean * erf
    return folded
