"""How much of a change is rounding or damage: sentences on its size are silent where most is."""

from __future__ import annotations

import numpy as np

from ftdiff.analyses.damage import damage_of, is_another_base
from ftdiff.comparison.frame import among, floats, there
from ftdiff.comparison.reasons import FEW_BITS, with_code
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.metrics import TRUSTED_SNR
from ftdiff.tensors import Array

#: Kinds of damage that a release must not have; others are cautions.
_ALARMS = ("unreadable", "nonfinite", "zeroed", "sign-flipped", "replaced", "multiplied")
#: Kinds that leave a checkpoint usable, and make a change that no training made.
_CAUTIONS = ("pruned", "overwritten")


def is_damaged(diff: Diff) -> bool:
    """Whether a tensor is broken, or the checkpoint is of another base."""
    kinds = damage_of(diff).kinds
    return any(kinds[name].any() for name in _ALARMS) or is_another_base(diff)


def untrained_share(diff: Diff) -> float:
    """Return which share of the squared change is pruning, an overwriting or few bits."""
    kinds = damage_of(diff).kinds
    rows = np.logical_or.reduce([kinds[name] for name in _CAUTIONS])
    if "reason" in diff.columns:
        rows = rows | with_code(diff.columns, FEW_BITS)
    return _share(diff, rows)


def drowned_share(diff: Diff) -> float:
    """Return which share of the squared change is of tensors that rounding could have moved."""
    return _share(diff, _drowned(diff))


def drowned_matrices(diff: Diff) -> float:
    """Return which share of the matrices that moved rounding could have moved."""
    matrices = [shape is not None and len(shape) > 1 for shape in diff.columns["shape"]]
    moved = among(diff.columns["status"], MOVED) & np.array(matrices, bool)
    return float(_drowned(diff)[moved].mean()) if moved.any() else 0.0


def _drowned(diff: Diff) -> Array:
    """Say which changes do not stand out of the storage dtype's rounding; of no adapter's do."""
    columns = diff.columns
    stored = there(columns["base_dtype"]) & there(columns["tuned_dtype"])
    moved = among(columns["status"], MOVED) & stored
    if "snr" not in diff.frame:
        return np.zeros_like(moved)
    snr = diff.frame["snr"].to_numpy(np.float64, na_value=np.nan)
    drowned: Array = moved & (snr < TRUSTED_SNR)
    return drowned


def _share(diff: Diff, rows: Array) -> float:
    squares = np.nan_to_num(floats(diff.columns["delta_sq"]))
    total = float(squares.sum())
    return float(squares[rows].sum()) / total if total > 0 else 0.0
