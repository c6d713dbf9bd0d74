"""How far weights moved against both sides at once: a metric of sums of absolute values."""

from __future__ import annotations

import math

import numpy as np

from ftdiff.metrics.records.absolutes import Absolutes
from ftdiff.metrics.registry import Sums, metric
from ftdiff.tensors import Array


def _gaussian(s: Sums) -> Array:
    """Return what a Gaussian change of Gaussian weights gives: r / (1 + √(1 + r²))."""
    ratio_sq = s.delta_sq / s.base_sq
    expected: Array = np.sqrt(ratio_sq) / (1 + np.sqrt(1 + ratio_sq))
    return expected


@metric(
    "relative_norm_sigma",
    group="sigma",
    needs="absolutes",
    pool="quotient",
    label="Σ|ΔW|/(Σ|W| + Σ|W₁|)",
    formula="Σ|ΔW| / (Σ|W| + Σ|W₁|)",
    range="[0, 1]",
    null="r / (1 + √(1 + r²)), about half of r = relative_norm, for Gaussian weights and change",
    source="σ of Shadow-FT: arXiv 2505.12716; half of relative_norm_l1 where little moved",
    expected=_gaussian,
)
def relative_norm_sigma(a: Absolutes | None) -> float:
    """How far it moved in absolute values, against both sides added up."""
    if a is None:
        return math.nan
    return a.change / (a.base + a.tuned) if a.change else 0.0
