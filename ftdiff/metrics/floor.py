"""What rounding to a storage dtype gives, where it is a null, and what does not stand out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ftdiff.metrics.registry import Sums
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: A squared change under so many times what rounding alone gives is not to be trusted.
TRUSTED_SNR = 10.0
#: A column of numbers, or a table of them.
Numbers = TypeVar("Numbers", Array, "pd.Series[Any]", "pd.DataFrame")


def faint(snr: Numbers) -> Numbers:
    """Say which changes do not stand out of rounding; an exact zero is no change to be doubted.

    >>> faint(np.array([0.0, 1.0, 10.0, np.nan]))
    array([False,  True, False, False])
    """
    return (snr > 0) & (snr < TRUSTED_SNR)


def floor(s: Sums) -> Array:
    """√(Σ ulp²/12)/‖W‖: the error of rounding, relative to the base."""
    floor: Array = np.sqrt(s.ulp_sq / 12 / s.base_sq)
    return floor


def null_sq(s: Sums) -> Array:
    """What rounding alone adds to ‖ΔW‖²: none where the base lies on the tuned side's grid.

    Sums that were saved without it were all held against the floor.
    """
    null: Array = np.where(np.isnan(s.null_sq), s.ulp_sq, s.null_sq) / 12
    return null


def null(s: Sums) -> Array:
    """What rounding alone gives for `relative_norm`; missing where that is nothing."""
    null = null_sq(s)
    return np.sqrt(np.where(null > 0, null, np.nan) / s.base_sq)
