"""Coefficients over the layers, with where they may lie; by component where these differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: Coefficients that lie no further apart are one; where sums are rounded on the way they are biased
#: by more than that.
SPREAD = 0.006


def curves(frame: pd.DataFrame, parents: Sequence[str], *, components: bool) -> pd.DataFrame:
    """Return each parent's coefficient in each layer, or in each component of it.

    Parameters
    ----------
    frame
        Of a merge, a row per tensor.
    parents
        Their names, in the order of the coefficients.
    components
        Whether each component has its own.

    Returns
    -------
    frame
        Columns layer, component (if asked for), parent, coefficient, low, high, tensors. `low` and
        `high` are the ends between which every entry rounds right; where there are none, two
        standard errors about the coefficient.
    """
    import pandas as pd

    rows = frame[frame["coefficients"].notna() & frame["layer"].notna()]
    keys = ["layer", "component"] if components else ["layer"]
    found = []
    for place, group in rows.groupby(keys, sort=True):
        each: dict[str, Any] = dict(zip(keys, place, strict=True))
        each |= {"layer": int(each["layer"]), "tensors": len(group)}
        held = group.to_dict("list")
        found += [{**each, "parent": name, **_one(held, i)} for i, name in enumerate(parents)]
    columns = [*keys, "parent", "coefficient", "low", "high", "tensors"]
    return pd.DataFrame(found, columns=columns)


def _one(held: Mapping[Any, Sequence[Any]], i: int) -> dict[str, float]:
    c, errors, low, high = (
        _numbers(held[name], i) for name in ("coefficients", "errors", "low", "high")
    )
    moved = np.array(held["moved"], dtype=float)
    exact = np.array([one == "exact" for one in held["status"]])
    settled = _numbers(held["weights"], i)  # those of a replay: a small tensor tells no others
    c = np.where(exact & np.isfinite(settled), settled, c)
    known = np.isfinite(c)
    if not moved[known].sum():
        return dict.fromkeys(("coefficient", "low", "high"), float("nan"))
    mean = float((c[known] * moved[known]).sum() / moved[known].sum())
    ends = exact & np.isfinite(low) & np.isfinite(high) & (low <= high)
    if ends.any() and low[ends].max() <= high[ends].min():
        least, most = float(low[ends].max()), float(high[ends].min())
        return {"coefficient": min(max(mean, least), most), "low": least, "high": most}
    sure = 1 / np.maximum(errors[np.isfinite(errors)], 1e-9) ** 2
    room = 2 / float(np.sqrt(sure.sum())) if len(sure) else float("nan")
    return {"coefficient": mean, "low": mean - room, "high": mean + room}


def _numbers(values: Sequence[Any], i: int) -> Array:
    """Return the i-th number of each; NaN where it is missing."""
    return np.array([np.nan if one is None or one[i] is None else one[i] for one in values], float)


def varies(table: pd.DataFrame) -> bool:
    """Say whether some parent's coefficient is not the same in all rows."""
    return _apart(table, ["parent"])


def differs(table: pd.DataFrame) -> bool:
    """Say whether components of one layer have other coefficients than its others have."""
    return _apart(table, ["layer", "parent"])


def _apart(table: pd.DataFrame, keys: list[str]) -> bool:
    """Say whether coefficients of one group lie apart by more than they are open."""
    spans = table.groupby(keys).agg(low=("low", "max"), high=("high", "min"))
    means = table.groupby(keys)["coefficient"].agg(["min", "max"])
    gap = np.minimum(spans["low"] - spans["high"], means["max"] - means["min"])
    return bool((gap > SPREAD).any())
