"""What merging many fine-tunes would keep of each: from inner products, without merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.errors import BadCall
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd


def forecast(names: Sequence[str], sums: Mapping[str, Array], drop: float = 0.9) -> pd.DataFrame:
    """Forecast merges of all fine-tunes onto their base.

    Parameters
    ----------
    names
        Of n fine-tunes.
    sums
        `inner`, T × n × n, and the sums of `signs` where they were measured.
    drop
        The share of entries that DARE drops before it rescales the rest (Yu et al., 2311.03099).

    Returns
    -------
    DataFrame
        A row per `method` and `name`:

        * `kept`: ⟨merged, ΔW⟩ / ‖ΔW‖²: 1 where the whole change is in the merge; 1/n for the
          average of n changes that are orthogonal.
        * `cosine`: of the merged change with this one.
        * `relative_length`: ‖merged‖ over the root mean square of the ‖ΔW‖.
        * `noise`: the share of ‖merged‖² that is drawn at random.

        "average" and "sum" are exact, ‖Σ wᵢ ΔWᵢ‖² = wᵀGw; a tensor that is not known of a
        fine-tune counts as unchanged. "dare" is the expectation over its draws, of the average:
        entries of ΔWᵢ are dropped with probability p and divided by 1 − p, which adds
        wᵢ² p / (1 − p) ‖ΔWᵢ‖². "ties" is exact up to ties in magnitude: the largest fifth of each
        tensor, the elected sign, the mean of those that have it (2306.01708).

    Raises
    ------
    BadCall
        `drop` is no share below 1.
    """
    import pandas as pd

    if not 0 <= drop < 1:
        raise BadCall(f"drop={drop}: a share from 0 to below 1")
    G = np.nan_to_num(sums["inner"], nan=0.0).sum(axis=0)
    n = len(names)
    own = G.diagonal()
    w = np.full(n, 1 / n)
    noise = float((w * w * own).sum() * drop / (1 - drop))
    averaged, summed = float(w @ G @ w), float(G.sum())
    rows = [
        *_rows("average", names, own, G @ w, averaged, 0.0),
        *_rows("sum", names, own, G.sum(axis=0), summed, 0.0),
        *_rows("dare", names, own, G @ w, averaged + noise, noise),
    ]
    if "signs.merged_sq" in sums:
        inner = sums["signs.merged_inner"].sum(axis=0)
        rows += _rows("ties", names, own, inner, float(sums["signs.merged_sq"].sum()), 0.0)
    return pd.DataFrame(rows)


def _rows(
    method: str, names: Sequence[str], own: Array, inner: Array, merged_sq: float, noise: float
) -> list[dict[str, Any]]:
    with np.errstate(all="ignore"):
        kept = np.where(own > 0, inner / own, np.nan)
        cosine = np.where(own * merged_sq > 0, inner / np.sqrt(own * merged_sq), np.nan)
        length = float(np.sqrt(merged_sq / own.mean())) if own.mean() > 0 else float("nan")
    share = noise / merged_sq if merged_sq > 0 else 0.0
    return [
        {
            "method": method,
            "name": name,
            "kept": float(kept[i]),
            "cosine": float(cosine[i]),
            "relative_length": length,
            "noise": share,
        }
        for i, name in enumerate(names)
    ]
