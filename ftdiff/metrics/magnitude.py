"""How far, in which way and where weights moved: metrics of sums, so that any group has them."""

from __future__ import annotations

import numpy as np

from ftdiff.metrics.angle import legs, one_minus_cosine, unmoved
from ftdiff.metrics.floor import TRUSTED_SNR, floor, null, null_sq
from ftdiff.metrics.registry import Sums, metric
from ftdiff.tensors import Array


@metric(
    "relative_norm",
    group="magnitude",
    label="‖ΔW‖/‖W‖",
    formula="‖ΔW‖_F / ‖W‖_F",
    range="[0, ∞)",
    null="precision_floor, where the base lies off the tuned side's grid; else 0",
    source="Frobenius norms; the measure most model cards plot",
    expected=null,
)
def relative_norm(s: Sums) -> Array:
    """How far it moved, against how large it was; 0 for the same bytes even if never read."""
    return np.where(s.delta_sq == 0, 0.0, np.sqrt(s.delta_sq / s.base_sq))


@metric(
    "relative_norm_mean",
    group="magnitude",
    label="‖ΔW‖ / mean norm",
    formula="‖ΔW‖_F / (½‖W‖_F + ½‖W₁‖_F)",
    range="[0, 2]",
    null="about precision_floor, where that is a null; else 0",
    source="relative_norm by both norms' mean: the same forwards and backwards",
    expected=null,
)
def relative_norm_mean(s: Sums) -> Array:
    """How far it moved, against the mean of both norms."""
    means = (np.sqrt(s.base_sq) + np.sqrt(s.tuned_sq)) / 2
    return np.where(s.delta_sq == 0, 0.0, np.sqrt(s.delta_sq) / means)


@metric(
    "relative_norm_l1",
    group="magnitude",
    label="Σ|ΔW|/Σ|W|",
    formula="Σ|ΔW| / Σ|W|",
    range="[0, ∞)",
    null="relative_norm for a Gaussian change of Gaussian weights",
    source="relative_norm in the 1-norm",
    expected=lambda s: np.sqrt(s.delta_sq / s.base_sq),
)
def relative_norm_l1(s: Sums) -> Array:
    """How far it moved in absolute values, against the base's."""
    return np.where(s.delta_abs == 0, 0.0, s.delta_abs / s.base_abs)


@metric(
    "rms_change",
    group="magnitude",
    label="RMS ΔW",
    unit="weight",
    formula="‖ΔW‖_F / √N",
    range="[0, ∞)",
    null="precision_floor · RMS(W), where that is a null; else 0",
    expected=lambda s: null(s) * np.sqrt(s.base_sq / s.numel),
)
def rms_change(s: Sums) -> Array:
    """How far a typical entry moved, in the units of the weights."""
    return np.sqrt(s.delta_sq / s.numel)


@metric(
    "mean_abs_change",
    group="magnitude",
    label="mean |ΔW|",
    unit="weight",
    formula="Σ|ΔW| / N",
    range="[0, ∞)",
    null="√(2/π) = 0.80 times rms_change for Gaussian noise",
    expected=lambda s: np.sqrt(2 / np.pi) * rms_change(s),
)
def mean_abs_change(s: Sums) -> Array:
    """How far an entry moved on average, in the units of the weights."""
    return s.delta_abs / s.numel


@metric(
    "max_abs_change",
    group="magnitude",
    label="max |ΔW|",
    unit="weight",
    formula="max |ΔW|",
    range="[0, ∞)",
    null="about √(2 ln N) times rms_change for Gaussian noise",
    expected=lambda s: np.sqrt(2 * np.log(s.numel)) * rms_change(s),
)
def max_abs_change(s: Sums) -> Array:
    """How far the entry that moved most moved."""
    return s.delta_max


@metric(
    "cosine",
    group="magnitude",
    label="cos(W, W₁)",
    formula="⟨W, W₁⟩ / (‖W‖ ‖W₁‖)",
    range="[−1, 1]",
    null="1 − relative_norm²/2 for a change at right angles to W",
    expected=lambda s: 1 - s.delta_sq / s.base_sq / 2,
)
def cosine(s: Sums) -> Array:
    """Whether the direction of the weights was kept; 1 − cos is computed without cancellation.

    Nothing has a direction that is zero: there is then no cosine, and no angle, scale or rotation.
    """
    return np.where(unmoved(s), 1.0, 1.0 - one_minus_cosine(s))


@metric(
    "angle",
    group="magnitude",
    label="angle(W, W₁)",
    unit="degrees",
    formula="2 asin √((1 − cos)/2)",
    range="[0, 180]",
    null="arctan of relative_norm for a change at right angles to W",
    source="the cosine, as an angle; from 1 − cos, so that small angles keep their digits",
    expected=lambda s: np.degrees(np.arctan(np.sqrt(s.delta_sq / s.base_sq))),
)
def angle(s: Sums) -> Array:
    """By how many degrees the direction of the weights turned."""
    half = np.sqrt(np.clip(one_minus_cosine(s) / 2, 0.0, 1.0))
    first = np.degrees(2 * np.arcsin(half))
    beside = np.degrees(np.arctan2(np.sqrt(s.turned_sq), legs(s)[0]))
    return np.where(unmoved(s), 0.0, np.where(np.isnan(s.turned_sq), first, beside))


@metric(
    "scale",
    group="magnitude",
    label="scale c*",
    formula="c* = ⟨W, W₁⟩ / ‖W‖²",
    range="(−∞, ∞)",
    null="1 for a change at right angles to W",
    source="least-squares fit of W₁ by a multiple of W",
    expected=lambda s: np.ones_like(s.base_sq),
)
def scale(s: Sums) -> Array:
    """By which factor the base was rescaled: the multiple of W nearest to W₁."""
    return np.where(unmoved(s), 1.0, 1.0 + s.inner / s.base_sq)


@metric(
    "rotation",
    group="magnitude",
    label="rotation sin θ",
    formula="sin θ = √(1 − cos²)",
    range="[0, 1]",
    null="relative_norm for a change at right angles to W",
    source="‖ΔW‖² = (c* − 1)² ‖W‖² + sin²θ ‖W₁‖² (Pythagoras)",
    expected=lambda s: np.sqrt(s.delta_sq / s.base_sq),
)
def rotation(s: Sums) -> Array:
    """How far the direction turned, once any rescaling is taken out."""
    turned = one_minus_cosine(s)
    sine = np.sqrt(np.clip(turned * (2.0 - turned), 0.0, 1.0))
    beside = np.sqrt(s.turned_sq) / legs(s)[1]  # keeps its digits where every sign is flipped too
    return np.where(unmoved(s), 0.0, np.where(np.isnan(s.turned_sq), sine, beside))


@metric(
    "scale_share",
    group="magnitude",
    label="share of rescaling",
    formula="(c* − 1)² ‖W‖² / ‖ΔW‖²",
    range="[0, 1]",
    null="1/N for noise",
    source="the scale term of the same Pythagoras",
    expected=lambda s: 1 / s.numel,
)
def scale_share(s: Sums) -> Array:
    """How much of the squared change is a uniform rescaling of the base."""
    along = s.inner**2 / s.base_sq
    whole = np.where(np.isnan(s.turned_sq), s.delta_sq, along + s.turned_sq)
    share: Array = np.clip(along / whole, 0.0, 1.0)
    return share


@metric(
    "changed_fraction",
    group="changed",
    label="entries changed",
    formula="#(ΔW ≠ 0) / N",
    range="[0, 1]",
    null="1 for any dense update in float32, and for any unmerged LoRA",
    source="exact comparison of the stored values",
    expected=lambda s: np.ones_like(s.unequal),
)
def changed_fraction(s: Sums) -> Array:
    """The share of entries whose stored value differs at all."""
    return s.unequal / s.numel


@metric(
    "sign_flip_fraction",
    group="magnitude",
    label="sign flips",
    formula="#(sign w · sign w₁ < 0) / N",
    range="[0, 1]",
    null="about relative_norm/π for independent Gaussian noise",
    source="the conflicts that TIES merging counts",
    expected=lambda s: np.sqrt(s.delta_sq / s.base_sq) / np.pi,
)
def sign_flip_fraction(s: Sums) -> Array:
    """The share of entries that crossed zero."""
    return s.sign_flips / s.numel


@metric(
    "energy_share",
    group="magnitude",
    label="share of ‖ΔW‖²",
    formula="‖ΔW_k‖² / Σ ‖ΔW‖²",
    range="[0, 1]",
    null="the share of parameters",
    expected=lambda s: s.params / s.whole["numel"],
)
def energy_share(s: Sums) -> Array:
    """The share of the whole squared change that is here."""
    return s.energy / s.whole["delta_sq"]


@metric(
    "lift",
    group="magnitude",
    label="lift",
    formula="energy_share / share of parameters",
    range="[0, ∞)",
    null="1: as much change as its size would have",
    expected=lambda s: np.ones_like(s.delta_sq),
)
def lift(s: Sums) -> Array:
    """How much more of the change is here than the number of parameters explains."""
    return (s.energy / s.whole["delta_sq"]) / (s.params / s.whole["numel"])


@metric(
    "precision_floor",
    group="magnitude",
    label="precision floor",
    formula="√(Σ ulp² / 12) / ‖W‖",
    range="[0, ∞)",
    null="is itself the null of relative_norm where the base lies off the tuned side's grid; "
    "elsewhere it tells how far rounding blurs the change",
    source="uniform rounding error of half a unit in the last place (Widrow)",
)
def precision_floor(s: Sums) -> Array:
    """The relative change that rounding W₁ to its storage dtype makes (to the base's: adapters)."""
    return floor(s)


@metric(
    "snr",
    group="magnitude",
    label="signal to rounding",
    formula="‖ΔW‖² / (Σ ulp² / 12), over what lies off the tuned side's grid in the base",
    range="[0, ∞)",
    null=f"1: nothing but rounding; under {TRUSTED_SNR:g} is not to be trusted",
    expected=lambda s: np.ones_like(s.delta_sq),
)
def snr(s: Sums) -> Array:
    """How far the squared change stands above what rounding alone gives.

    Missing where that is nothing: two sides of one dtype. Of an unmerged adapter, how far it would
    stand above the rounding of its merge into the base's dtype.
    """
    return s.delta_sq / null_sq(s)
