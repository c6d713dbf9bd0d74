"""Layers × columns of each stack of a diff: the cells that findings, plots and reports are of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.metrics import faint
from ftdiff.naming import component_order

#: Sums of the weights that moved, which every cell has beside its metrics.
SUMS = ("delta_sq", "base_sq")


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one stack, each made of all weights of a layer and a column.

    Attributes
    ----------
    stack
        The tower, "" for the main one.
    by
        The column of the diff's frame that makes the columns: "component", "module", "block".
    rows
        A row per cell: `layer`, `by`, the metrics asked for, "snr", `tensors`, `moved` and
        `params` as `Diff.by` counts them, `SUMS` of what moved, and whether that is `stored` on
        both sides, so that its change was rounded.
    """

    stack: str
    by: str
    rows: pd.DataFrame

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers, ascending."""
        return tuple(sorted(int(layer) for layer in self.rows["layer"].unique()))

    @cached_property
    def columns(self) -> tuple[Hashable, ...]:
        """The columns: components in the published order, others by name."""
        names = self.rows[self.by].unique()
        return tuple(component_order(names) if self.by == "component" else sorted(names))

    @property
    def moved(self) -> Cells:
        """The cells in which a weight moved."""
        return Cells(self.stack, self.by, self.rows[self.rows["moved"] > 0])

    def table(self, name: str) -> pd.DataFrame:
        """Return a column of `rows` as a matrix, float64, layers × columns."""
        wide = self.rows.pivot(index="layer", columns=self.by, values=name).astype(float)
        layers: pd.Index[Any] = pd.Index([int(layer) for layer in wide.index], name="layer")
        wide = wide.set_axis(layers).rename_axis(columns=None)
        return wide.reindex(index=list(self.layers), columns=list(self.columns)).rename_axis(
            index="layer"
        )

    @cached_property
    def doubtful(self) -> pd.DataFrame:
        """Cells whose change does not stand out of the storage dtype's rounding; bool."""
        return faint(self.table("snr"))

    @cached_property
    def rounded(self) -> pd.DataFrame:
        """Doubtful cells whose change was rounded, as an unmerged adapter's was not; bool."""
        return self.doubtful & (self.table("stored") > 0)


def cells(
    diff: Diff,
    metrics: Sequence[str],
    *,
    by: str = "component",
    matrices: bool = False,
) -> tuple[Cells, ...]:
    """Take the cells of every stack that has layers, the stack that moved most first.

    Parameters
    ----------
    diff
        What they are of: its weights that are in a layer.
    metrics
        Names of metrics; "snr" is taken too.
    by
        The column of the diff's frame that makes the columns.
    matrices
        Whether vectors, as norms have them, are left out.

    Raises
    ------
    UnknownName, BadCall
        A metric does not exist, or was not measured.
    """
    keys = ["stack", "layer", by]
    wanted = tuple(dict.fromkeys((*metrics, "snr")))
    weights = diff.frame[diff.frame["param"] == "weight"]
    if matrices:  # shares are then of the matrices, else of the whole diff
        weights = weights[weights["shape"].map(lambda shape: shape is not None and len(shape) > 1)]
        diff = Diff(weights, diff.about)
    long = diff.by(*keys, metrics=wanted, param="weight").dropna(subset=["layer", by])
    long = long.merge(_sums(weights, keys), on=keys, how="left")
    return tuple(Cells(stack, by, long[long["stack"] == stack]) for stack in stacks(long))


def stacks(long: pd.DataFrame) -> list[str]:
    """Return the stacks of groups, as `Diff.by` gives them, the one that moved most first."""
    sizes = long["params"].where(long["moved"] > 0, 0).groupby(long["stack"]).sum()
    order = sorted(sizes.index, key=lambda stack: (int(sizes[stack]), stack), reverse=True)
    return [str(stack) for stack in order]


def _sums(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return `SUMS`, and whether both sides are stored, of the weights of a cell that moved."""
    moved = frame[frame["status"].isin(MOVED)].dropna(subset=keys)
    grouped = moved.assign(stored=moved["tuned_dtype"].notna()).groupby(keys)
    columns = {name: (name, "sum") for name in SUMS}
    return grouped.agg(**columns, stored=("stored", "all")).reset_index()
