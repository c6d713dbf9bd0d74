"""Exact grouping: what a group of tensors has of sums, and of metrics that do not add up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ftdiff.comparison.frame import Columns, among, floats, length, there, typed
from ftdiff.comparison.statuses import IDENTICAL
from ftdiff.deltas.moments import COLUMNS, COUNTS, MAXIMA, exact
from ftdiff.tensors import Array

#: What tells a group apart: its value of each column, None where that is missing.
Key: TypeAlias = tuple[Any, ...]


def groups(columns: Columns, keys: Sequence[str]) -> dict[Key, Array]:
    """Return the rows of each group, groups ascending by key, missing values last."""
    if not keys:
        return {(): np.arange(length(columns))}
    members: dict[Key, list[int]] = {}
    for i, key in enumerate(zip(*(columns[name].tolist() for name in keys), strict=True)):
        members.setdefault(tuple(None if v != v else v for v in key), []).append(i)
    ordered = sorted(members, key=lambda key: [(v is None, 0 if v is None else v) for v in key])
    return {key: np.array(members[key]) for key in ordered}


def summed(columns: Columns, keys: Sequence[str], moved: Sequence[str]) -> dict[str, Array]:
    """Add up the sums of each group exactly, over the tensors that moved.

    A group in which nothing moved has the sums of its unmoved tensors. `numel` counts the entries
    that the sums are over, `params` those of every tensor given.
    """
    active = among(columns["status"], moved) & there(columns["delta_sq"])
    still = columns["status"] == IDENTICAL
    sizes = np.array([size or 0 for size in columns["numel"]], np.int64)
    rows: list[list[Any]] = []
    for key, here in groups(columns, keys).items():
        moving = here[active[here]]
        measured = moving if len(moving) else here[still[here]]
        sums = [_total(columns[name][measured], name) for name in COLUMNS]
        counts = [int(sizes[measured].sum()), int(sizes[here].sum()), len(here), len(moving)]
        rows.append([*key, *sums, *counts])
    names = [*keys, *COLUMNS, "numel", "params", "tensors", "moved"]
    return typed({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _total(values: Array, name: str) -> float | int | None:
    """Add a column up, to the same bits in any order; missing where a part of it is missing."""
    if not len(values) or not there(values).all():
        return None
    if name in MAXIMA:
        return float(max(values))
    return int(sum(values)) if name in COUNTS else exact(values)[0]


def apart(
    grouped: Columns, moved: Columns, keys: Sequence[str], pools: Mapping[str, str]
) -> dict[str, Array]:
    """Return columns that do not add up, for groups that are there.

    Parameters
    ----------
    grouped
        The groups, as from `summed`.
    moved
        The tensors that moved.
    keys
        What they are grouped by.
    pools
        By metric, how a group has it from its tensors (see `ftdiff.metrics.Metric`). Where no mean
        is right, a group has the value of its one moved tensor, or none.
    """
    if not pools:
        return {}
    members = groups(moved, keys)
    if not keys:
        here = [members[()]]
    else:
        none = np.arange(0)
        found = zip(*(grouped[name].tolist() for name in keys), strict=True)
        here = [members.get(tuple(None if v != v else v for v in key), none) for key in found]
    return typed(
        {name: [_pooled(moved, rows, name, pool) for rows in here] for name, pool in pools.items()}
    )


def _pooled(moved: Columns, rows: Array, name: str, pool: str) -> float | None:
    """Return the mean over tensors; missing where one of them has no value."""
    values = moved[name][rows]
    if not pool:
        return float(values[0]) if len(values) == 1 else None
    if not len(values) or not there(values).all():
        return None
    if pool == "quotient":
        return _quotient(values, moved["delta_abs"][rows], moved["base_abs"][rows])
    power, weight = (2, "delta_sq") if pool == "energy" else (1, "numel")
    pairs = list(zip(values, floats(moved[weight][rows]), strict=True))
    whole = math.fsum(w for _, w in pairs)
    return (math.fsum(v**power * w for v, w in pairs) / whole) ** (1 / power) if whole else None


def _quotient(values: Array, delta_abs: Array, base_abs: Array) -> float | None:
    """Return ΣΣ|ΔW| / Σx of quotients Σ|ΔW|/x, x = Σ|W| + Σ|W₁|: 2Σ|W| where nothing moved."""
    if not (there(delta_abs).all() and there(base_abs).all()):
        return None
    parts = zip(delta_abs, base_abs, values, strict=True)
    pairs = [(moved, moved / value if value else 2 * base) for moved, base, value in parts]
    whole = math.fsum(x for _, x in pairs)
    return math.fsum(moved for moved, _ in pairs) / whole if whole else 0.0
