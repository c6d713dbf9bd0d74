"""What a group has of metrics that do not add up: the mean of its tensors', or its one tensor's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd


def with_lone(
    grouped: pd.DataFrame, moved: pd.DataFrame, columns: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """Add columns that do not add up: a group has the value of its one moved tensor, or none."""
    if not names:
        return grouped
    keys = list(columns)
    groups = moved.groupby(keys, dropna=False) if keys else [((), moved)]
    lone = {
        _key(key if isinstance(key, tuple) else (key,)): members.iloc[0]
        for key, members in groups
        if len(members) == 1
    }
    found = [lone.get(_key(key)) for key in zip(*(grouped[c] for c in keys), strict=True)]
    if not keys:
        found = [lone.get(())]
    return grouped.assign(
        **{
            n: pd.array([None if row is None else row[n] for row in found], "Float64")
            for n in names
        }
    )


def with_pooled(
    grouped: pd.DataFrame, moved: pd.DataFrame, columns: Sequence[str], pools: Mapping[str, str]
) -> pd.DataFrame:
    """Add columns of which a group has a mean, as `pools` says (see `ftdiff.metrics.Metric`)."""
    if not pools:
        return grouped
    keys = list(columns)
    groups = moved.groupby(keys, dropna=False) if keys else [((), moved)]
    members = {_key(key if isinstance(key, tuple) else (key,)): part for key, part in groups}
    found = [members.get(_key(key)) for key in zip(*(grouped[c] for c in keys), strict=True)]
    parts = found if keys else [members.get(())]
    return grouped.assign(
        **{
            name: pd.array([_pooled(part, name, pool) for part in parts], "Float64")
            for name, pool in pools.items()
        }
    )


def _pooled(members: pd.DataFrame | None, name: str, pool: str) -> float | None:
    """Return the mean over tensors; missing where one of them has no value."""
    if members is None or members[name].isna().any() or not len(members):
        return None
    if pool == "quotient":
        return _quotient(members, name)
    power, weight = (2, "delta_sq") if pool == "energy" else (1, "numel")
    pairs = list(zip(members[name], members[weight], strict=True))
    whole = math.fsum(w for _, w in pairs)
    return (math.fsum(v**power * w for v, w in pairs) / whole) ** (1 / power) if whole else None


def _quotient(members: pd.DataFrame, name: str) -> float | None:
    """Return ΣΣ|ΔW| / Σx of quotients Σ|ΔW|/x, x = Σ|W| + Σ|W₁|: 2Σ|W| where nothing moved."""
    if members[["delta_abs", "base_abs"]].isna().any(axis=None):
        return None
    parts = zip(members["delta_abs"], members["base_abs"], members[name], strict=True)
    pairs = [(moved, moved / value if value else 2 * base) for moved, base, value in parts]
    whole = math.fsum(x for _, x in pairs)
    return math.fsum(moved for moved, _ in pairs) / whole if whole else 0.0


def _key(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return what is equal for equal keys, missing ones included."""
    return tuple(None if pd.isna(value) else value for value in values)
