"""What a few rows of a stored change say of how it was made, as numbers of one tensor.

A metric here takes a `Structure` (`ftdiff.metrics.records.structure`) and returns a number; NaN
where there are no two stored matrices, or where the sample does not tell.
"""

from __future__ import annotations

import math

from ftdiff.metrics.records.structure import Structure
from ftdiff.metrics.registry import metric

#: The standard error of a slope, beyond which nothing is told by it.
_KNOWN = 0.1


@metric(
    "tail_rank",
    group="structure",
    needs="structure",
    label="rank of ΔW beyond rounding",
    formula="the least k for which Σ_{i>k} σᵢ² is no more than rounding leaves, in sampled rows",
    range="[1, rows)",
    null="the number of rows for dense changes; missing where rounding blurs it, or rows are few",
)
def tail_rank(s: Structure) -> float:
    """The rank of what is stored, rounding aside."""
    if s.tail is None or s.tail.blurred or not s.tail.rank:
        return math.nan
    known = s.is_low(s.tail.rank) or (s.rows is not None and s.rows.whole)
    return float(s.tail.rank) if known else math.nan


@metric(
    "lead_share",
    group="structure",
    needs="structure",
    label="σ₁² / Σσ² of sampled rows",
    formula="σ₁² / Σσ² of ΔW in sampled rows",
    range="(0, 1]",
    null="(√m + √n)²/mn for m × n entries of noise: 0.02 for 96 × 512",
)
def lead_share(s: Structure) -> float:
    """The share of the squared change that its leading direction has."""
    return s.lead[0] if s.moved else math.nan


@metric(
    "base_slope",
    group="structure",
    needs="structure",
    label="slope of ΔW on the base's rounding",
    formula="⟨ΔW, Q(W) − W⟩ / ‖Q(W) − W‖², of the roundings the one that explains most",
    range="(−∞, ∞)",
    null="0 ± 0.01 where the base itself was tuned, 1 where Q(W) was; missing for small changes",
)
def base_slope(s: Structure) -> float:
    """How much of the base's rounding to few bits is in the change."""
    found = s.slope
    return found.value if found is not None and found.error <= _KNOWN else math.nan


@metric(
    "step_share",
    group="structure",
    needs="structure",
    label="moves of one or two steps",
    formula="#(0 < |ΔW| ≤ 2 spacings) / #(ΔW ≠ 0), on the tuned file's grid, in sampled rows",
    range="[0, 1]",
    null="1 for least steps; of Gaussian changes of 1e-2 in bfloat16 0.05; none of float32",
)
def step_share(s: Structure) -> float:
    """Of the entries that moved, the share that moved by as little as storage has."""
    moved, _, two = s.steps
    grid = s.rows.stored.grid if s.rows is not None and moved else ""
    return two / moved if moved and grid in ("BF16", "F16") else math.nan
