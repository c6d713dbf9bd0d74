"""What the change of each matrix adds to its output, beside what it is of the matrix itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ftdiff.analyses.live_model.changes import Changes
from ftdiff.naming import locate
from ftdiff.tensors import Array

#: Fewer matrices have no order to speak of.
LEAST = 8


def rows(changed: Changes, sums: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return a record for each matrix, in the order of the model.

    Parameters
    ----------
    changed
        What the fine-tune changes.
    sums
        By parameter, float64, 3 × texts: Σ‖ΔW·x‖², Σ‖W·x‖² and the rounding of the latter.
    """
    names = [name for name in changed if name in sums]
    places = locate([changed.pieces[name].base_name for name in names])
    found: list[dict[str, Any]] = []
    for name in names:
        moved, whole, rounding = sums[name].sum(axis=1)
        tensor = changed.pieces[name].base_name
        place = places[tensor]
        found.append(
            {
                "tensor": tensor,
                "stack": place.stack,
                "layer": place.layer,
                "component": place.component,
                "moved_sq": float(moved),
                "output_sq": float(whole),
                "output_change": _ratio(moved, whole),
                "output_change_floor": _ratio(rounding, whole),
                "relative_norm": _relative_norm(changed, name),
            }
        )
    ranks = [
        _ranks([row[number] for row in found]) for number in ("output_change", "relative_norm")
    ]
    return [
        {**row, "output_rank": a, "norm_rank": b} for row, a, b in zip(found, *ranks, strict=True)
    ]


def _ratio(part_sq: float, whole_sq: float) -> float:
    return float(np.sqrt(part_sq / whole_sq)) if whole_sq > 0 else float("nan")


def _relative_norm(changed: Changes, name: str) -> float:
    delta, start = changed.delta(name).double(), changed.start(name).double()
    return _ratio(float((delta**2).sum()), float((start**2).sum()))


def _ranks(values: list[Any]) -> list[int | None]:
    """Return ranks from 1, the largest first; of a matrix of zeros, which has no ratio, None."""
    from scipy.stats import rankdata

    ranks = rankdata([-value for value in values], method="ordinal", nan_policy="omit")
    return [None if np.isnan(rank) else int(rank) for rank in ranks]


def agreement(sums: Mapping[str, Array]) -> dict[str, Any]:
    """Return how alike two halves of the texts rank the matrices: what noise leaves of an order."""
    from scipy.stats import spearmanr

    if len(sums) < LEAST or min(held.shape[1] for held in sums.values()) < 2:
        return {"halves": None}
    halves = []
    for start in (0, 1):
        parts = np.array([held[:2, start::2].sum(axis=1) for held in sums.values()])
        halves.append(parts[:, 0] / np.maximum(parts[:, 1], np.finfo(float).tiny))
    value = float(spearmanr(*halves).statistic) if all(np.ptp(h) > 0 for h in halves) else None
    return {"halves": value}
