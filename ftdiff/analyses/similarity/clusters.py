"""An order in which alike fine-tunes stand together, groups with their criterion, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ftdiff.metrics import faint
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: Above this cosine two changes are one.
SAME = 0.999


def alike_by_rounding(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Say of which pairs the base's own rounding may be the likeness: under the floor, not equal.

    A whole likeness (the interference of 1 that equal entries have) is one, whatever made it.
    """
    shared = faint(pairs["snr"]) & (pairs["rounding_cosine"] > 0)
    return (shared & (pairs["interference"] < 1)).astype(bool)


@dataclass(frozen=True, eq=False)
class Groups:
    """Fine-tunes in order, and in groups.

    Attributes
    ----------
    order
        All names: those that are alike are neighbours.
    members
        The groups, each with its names, in that order.
    criterion
        How they were found, in words, with the number.
    linkage
        The tree, as SciPy writes it: (n − 1) × 4.
    """

    order: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    criterion: str
    linkage: Array


def groups(names: Sequence[str], cosine: Array) -> Groups:
    """Group fine-tunes by average linkage of 1 − cosine, cut where the tree has its widest gap.

    The gap is looked for from 0, where all are the same, to 1, where none has to do with another:
    so all may be one group, and each a group of its own. A cosine that is missing, or negative,
    counts as 0.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    distance = np.clip(1 - np.nan_to_num(cosine, nan=0.0), 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(np.minimum(distance, distance.T), checks=False)
    tree = hierarchy.linkage(condensed, "average", optimal_ordering=True)
    order = hierarchy.leaves_list(tree)
    heights = np.array([0.0, *np.sort(tree[:, 2]), 1.0])
    gaps = np.diff(heights)
    at = int(gaps.argmax())
    low, high = float(heights[at]), float(heights[at + 1])
    labels = hierarchy.fcluster(tree, (low + high) / 2, "distance")
    members: dict[int, list[str]] = {}
    for i in order:
        members.setdefault(int(labels[i]), []).append(names[i])
    return Groups(
        tuple(names[i] for i in order),
        tuple(map(tuple, members.values())),
        f"average linkage of 1 − cosine, cut in its widest gap, {low:.3g} to {high:.3g}",
        np.asarray(tree),
    )


def neighbours(names: Sequence[str], numbers: Mapping[str, Array]) -> pd.DataFrame:
    """Return, for each name, the most similar other: `name, nearest, cosine, over_null`."""
    import pandas as pd

    cosine = numbers["cosine"].copy()
    np.fill_diagonal(cosine, np.nan)
    rows = []
    for i, name in enumerate(names):
        if not np.isfinite(cosine[i]).any():
            rows.append({"name": name, "nearest": None, "cosine": np.nan, "over_null": np.nan})
            continue
        j = int(np.nanargmax(cosine[i]))
        over = cosine[i, j] / numbers["cosine_null"][i, j]
        rows.append({"name": name, "nearest": names[j], "cosine": cosine[i, j], "over_null": over})
    return pd.DataFrame(rows, columns=["name", "nearest", "cosine", "over_null"])
