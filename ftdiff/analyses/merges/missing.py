"""Whether what is left of a merge was trained on top, or is a parent that is missing.

Shares of a mean sum to 1. Training on top leaves the sum as it is, since what it adds has to do
with no parent. A parent that is missing, of share m, takes m · (1 − s) from it: its change is as
like the others as they are alike (cosine ρ), which hold s = n·ρ / (1 + (n − 1)·ρ) of it, and what
they do not is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Tensors that are needed to know how far sums scatter.
_LEAST = 3
#: Sums of few bits are biased by so much; so many standard errors are no chance.
_BIAS, _SURE = 0.004, 3.0
#: By which factor the share that the sum foretells and the one that the residual does may differ.
_ALIKE = 1.6


@dataclass(frozen=True)
class Rest:
    """What is left of a merge.

    Attributes
    ----------
    kind
        "trained" on top, a parent is "missing", or empty where the sum does not tell.
    share
        Of the one that is missing; if `kind` is empty, what it would have if one were.
    """

    kind: str
    share: float


def rest(rows: Sequence[Mapping[str, Any]], left: float) -> Rest:
    """Say what is left, from the tensors' coefficients of parents whose base is known.

    Parameters
    ----------
    rows
        With `coefficients`, `moved`, and `sibling`: what one more fine-tune would leave.
    left
        Of all, beside rounding, over the merged change.
    """
    used = [row for row in rows if row.get("sibling") is not None and _whole(row)]
    if not used:
        return Rest("", math.nan)
    moved = np.array([row["moved"] for row in used], dtype=float)
    c = np.array([row["coefficients"] for row in used], dtype=float)
    n, sums = c.shape[1], c.sum(axis=1)
    sibling = float(np.average([row["sibling"] for row in used], weights=moved))
    rho = _cosine(sibling, n)
    held = n * rho / (1 + (n - 1) * rho)
    mean_c = np.average(c, axis=0, weights=moved)
    explained = (1 - rho) * float(mean_c @ mean_c) + rho * float(mean_c.sum()) ** 2
    size = math.sqrt(max(explained, 0.0) / max(1 - left**2, 1e-6))
    share = left * size / max(sibling, 1e-6)
    if len(used) < _LEAST:
        return Rest("", share)
    mean = float(np.average(sums, weights=moved))
    count = moved.sum() ** 2 / (moved @ moved)
    error = math.sqrt(float(np.average((sums - mean) ** 2, weights=moved)) / max(count - 1, 1))
    room = max(_BIAS, _SURE * error)
    if abs(mean - 1) <= room:
        return Rest("trained" if share * (1 - held) > 2 * room else "", share)
    own = (1 - mean) / max(1 - held, 1e-6)
    if own > 0 and 1 / _ALIKE <= own / share <= _ALIKE:
        return Rest("missing", own)
    return Rest("", share)


def _whole(row: Mapping[str, Any]) -> bool:
    return bool(row.get("coefficients")) and None not in row["coefficients"]


def _cosine(sibling: float, n: int) -> float:
    """Return the cosine ρ of n changes of which another leaves √(1 − n·ρ² / (1 + (n − 1)·ρ)).

    >>> round(_cosine(0.384, 2), 2), _cosine(1.0, 2)
    (0.9, 0.0)
    """
    q = max(0.0, 1 - sibling**2)
    return (q * (n - 1) + math.sqrt((q * (n - 1)) ** 2 + 4 * n * q)) / (2 * n)
