"""What storage shows of a change: entries that moved enough to count, and what a merge keeps.

A metric here takes a record of counts (`ftdiff.counts`) and returns a number; NaN where there is
no record.
"""

from __future__ import annotations

import math

import numpy as np

from ftdiff.metrics.records.crossings import OF_RMS, Crossings
from ftdiff.metrics.records.merge_rounding import Merged
from ftdiff.metrics.registry import Sums, metric
from ftdiff.tensors import Array


def _gaussian(s: Sums) -> Array:
    """Return how often noise of the change's size is larger than the threshold."""
    ratio = OF_RMS * np.sqrt(s.base_sq / s.delta_sq) / math.sqrt(2)
    return np.array([math.erfc(x) if x == x else math.nan for x in np.atleast_1d(ratio)])


@metric(
    "changed_fraction_abs",
    group="changed",
    needs="thresholds",
    pool="share",
    label="entries with |ΔW| > 1e-5",
    formula="#(|ΔW| > 1e-5) / N; an unmerged adapter rounded to the base's dtype",
    range="[0, 1]",
    null="0 for the same bytes; counts all of bfloat16's moves above 0.002, where they are larger",
    source="small subnetworks of RL fine-tunes: arXiv 2505.11711",
)
def changed_fraction_abs(c: Crossings | None) -> float:
    """The share of entries that moved by more than 1e-5, whatever their size."""
    return math.nan if c is None or not c.numel else c.absolute / c.numel


@metric(
    "changed_fraction_bf16",
    group="changed",
    needs="thresholds",
    pool="share",
    label="entries changed beyond bfloat16",
    formula="#(|ΔW| > 1e-3 · max(|w|, |w₁|)) / N; an unmerged adapter rounded likewise",
    range="[0, 1]",
    null="changed_fraction where both sides are bfloat16, whose least step is 1/256",
    source="a threshold that grows with the entry, as bfloat16's spacing does: arXiv 2511.08567",
)
def changed_fraction_bf16(c: Crossings | None) -> float:
    """The share of entries that moved by more than a thousandth of themselves."""
    return math.nan if c is None or not c.numel else c.relative / c.numel


@metric(
    "changed_fraction_rms",
    group="changed",
    needs="thresholds",
    pool="share",
    label="entries with |ΔW| > RMS(W)/1000",
    formula="#(|ΔW| > 1e-3 · RMS(W)) / N; an unmerged adapter rounded likewise",
    range="[0, 1]",
    null="erfc(1e-3 / (√2 · relative_norm)) for Gaussian noise of this size",
    expected=_gaussian,
)
def changed_fraction_rms(c: Crossings | None) -> float:
    """The share of entries that moved by more than a thousandth of a typical weight."""
    return math.nan if c is None or not c.numel else c.of_rms / c.numel


@metric(
    "visible_fraction",
    group="visibility",
    needs="merge",
    pool="share",
    label="entries that a merge changes",
    formula="#(round(W + ΔW) ≠ W) / N, of an unmerged adapter",
    range="[0, 1]",
    null="of Gaussian weights in bfloat16, 0.22 at relative_norm 0.001, 0.82 at 0.01",
    source="peft#2502, unsloth#3091: adapters that vanished in their merge",
)
def visible_fraction(m: Merged | None) -> float:
    """The share of entries that a merge in the base's dtype would change."""
    return math.nan if m is None else m.share("")


@metric(
    "merge_error",
    group="visibility",
    needs="merge",
    pool="energy",
    label="error of a merge",
    formula="‖round(W + ΔW) − W − ΔW‖_F / ‖ΔW‖_F, of an unmerged adapter",
    range="[0, ∞)",
    null="precision_floor / relative_norm, where the change is larger than the floor",
    source="rounding error of half a unit in the last place (Widrow)",
    expected=lambda s: np.where(
        s.ulp_sq < 12 * s.delta_sq, np.sqrt(s.ulp_sq / 12 / s.delta_sq), np.nan
    ),
)
def merge_error(m: Merged | None) -> float:
    """How far a merge in the base's dtype misses the change, against its size."""
    return math.nan if m is None else m.error("")


@metric(
    "visible_fraction_bf16",
    group="visibility",
    needs="merge",
    pool="share",
    label="entries that a merge in bfloat16 changes",
    formula="#(bf16(W + ΔW) ≠ W) / N, of an unmerged adapter",
    range="[0, 1]",
    null="of Gaussian weights in bfloat16, 0.22 at relative_norm 0.001, 0.82 at 0.01",
    source="peft#2502, unsloth#3091: adapters that vanished in their merge",
)
def visible_fraction_bf16(m: Merged | None) -> float:
    """The share of entries that a merge in bfloat16 would change."""
    return math.nan if m is None else m.share("BF16")


@metric(
    "merge_error_bf16",
    group="visibility",
    needs="merge",
    pool="energy",
    label="error of a merge in bfloat16",
    formula="‖bf16(W + ΔW) − W − ΔW‖_F / ‖ΔW‖_F, of an unmerged adapter",
    range="[0, ∞)",
    null="0.0017 / relative_norm of Gaussian weights, where that is under 1",
    source="rounding error of half a unit in the last place (Widrow)",
)
def merge_error_bf16(m: Merged | None) -> float:
    """How far a merge in bfloat16 misses the change, against its size."""
    return math.nan if m is None else m.error("BF16")


@metric(
    "visible_fraction_f16",
    group="visibility",
    needs="merge",
    pool="share",
    label="entries that a merge in float16 changes",
    formula="#(f16(W + ΔW) ≠ W) / N, of an unmerged adapter",
    range="[0, 1]",
    null="of Gaussian weights, 0.77 at relative_norm 0.001",
    source="peft#2502, unsloth#3091: adapters that vanished in their merge",
)
def visible_fraction_f16(m: Merged | None) -> float:
    """The share of entries that a merge in float16 would change."""
    return math.nan if m is None else m.share("F16")


@metric(
    "merge_error_f16",
    group="visibility",
    needs="merge",
    pool="energy",
    label="error of a merge in float16",
    formula="‖f16(W + ΔW) − W − ΔW‖_F / ‖ΔW‖_F, of an unmerged adapter",
    range="[0, ∞)",
    null="0.0002 / relative_norm of Gaussian weights, where that is under 1",
    source="rounding error of half a unit in the last place (Widrow)",
)
def merge_error_f16(m: Merged | None) -> float:
    """How far a merge in float16 misses the change, against its size."""
    return math.nan if m is None else m.error("F16")
