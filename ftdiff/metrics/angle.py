"""The angle between base and tuned weights, from sums, to every digit that they hold."""

from __future__ import annotations

import numpy as np

from ftdiff.metrics.registry import Sums
from ftdiff.tensors import Array


def one_minus_cosine(s: Sums) -> Array:
    """1 − cos(W, W1) without cancellation: (‖Δ‖² − (‖W1‖ − ‖W‖)²) / (2 ‖W‖ ‖W1‖).

    Near a pure rescale, where that is dust, from what is left beside it. None where either is zero.
    """
    base, tuned = np.sqrt(s.base_sq), np.sqrt(s.tuned_sq)
    longer = (2 * s.inner + s.delta_sq) / (base + tuned)  # ‖W1‖ − ‖W‖
    both = np.where(base * tuned > 0, base * tuned, np.nan)
    turned = np.clip((s.delta_sq - longer**2) / (2 * both), 0.0, 2.0)
    along, whole = legs(s)
    beside = np.where(along > 0, s.turned_sq / (whole * (whole + along)), 1 - along / whole)
    found: Array = np.where(np.isnan(s.turned_sq), turned, beside)
    return found


def legs(s: Sums) -> tuple[Array, Array]:
    """Return c* ‖W‖ and ‖W1‖ of the right triangle whose third side is √turned_sq, if W1 ≠ 0."""
    base = np.sqrt(np.where(s.tuned_sq > 0, s.base_sq, np.nan))
    along = base + s.inner / base
    return along, np.hypot(along, np.sqrt(s.turned_sq))


def unmoved(s: Sums) -> Array:
    """Say what kept its direction: the same entries, of a base that has one; read or not."""
    still: Array = (s.delta_sq == 0) & ~(s.base_sq == 0)
    return still
