"""Metrics of sums as columns: of tensors, and of groups of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ftdiff.comparison.frame import Columns, among, floats, length, there
from ftdiff.comparison.statuses import PAIRED
from ftdiff.deltas.moments import COLUMNS, exact
from ftdiff.metrics import Metric, Sums
from ftdiff.tensors import Array, matrices


def with_metrics(columns: Columns, whole: Columns, metrics: Iterable[Metric]) -> dict[str, Array]:
    """Add a column for each of the metrics that come from sums.

    Parameters
    ----------
    columns
        Sums of tensors, or of groups.
    whole
        All tensors: what shares are taken of.
    metrics
        Any metrics.
    """
    sums = sums_of(columns, whole)
    return {**columns, **{m.name: m(sums) for m in metrics if m.needs == "sums"}}


def sums_of(columns: Columns, whole: Columns) -> Sums:
    """Return what metrics of sums are computed from; the arguments are those of `with_metrics`."""
    paired = among(whole["status"], PAIRED)
    moved = whole["delta_sq"][paired]
    totals = {
        "delta_sq": exact(moved[there(moved)])[0],
        "numel": float(sum(size for size in whole["numel"][paired] if size is not None)),
    }
    params = columns["params"] if "params" in columns else columns["numel"]
    energy = columns["energy"] if "energy" in columns else columns["delta_sq"]
    held = {"params": params, "energy": energy}
    held |= {name: columns[name] for name in ("numel", *COLUMNS)}
    return Sums({**{c: floats(v) for c, v in held.items()}, **_sides(columns)}, totals)


def _sides(columns: Columns) -> dict[str, Array]:
    """Return the sides of each tensor's matrix; of a stack of experts, those of one."""
    sides = np.full((2, length(columns)), np.nan)
    if "shape" in columns:
        for i, (name, shape) in enumerate(zip(columns["tensor"], columns["shape"], strict=True)):
            if shape is not None and len(shape) > 1:
                sides[:, i] = matrices(name, shape)[1:]
    return {"rows": sides[0], "columns": sides[1]}
