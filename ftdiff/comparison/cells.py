"""Layers × columns of each stack of a diff: the cells that findings, plots and reports are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.comparison.aggregation import groups
from ftdiff.comparison.frame import Columns, among, floats, length, rows_at, there
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.metrics import faint
from ftdiff.naming import component_order
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

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
        Columns with a row per cell: `layer`, `by`, the metrics asked for, "snr", `tensors`,
        `moved` and `params` as `Diff.by` counts them, `SUMS` of what moved, and whether that is
        `stored` on both sides, so that its change was rounded.
    """

    stack: str
    by: str
    rows: Columns

    def __len__(self) -> int:
        return length(self.rows)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers, ascending."""
        return tuple(sorted({*self.rows["layer"].tolist()}))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns: components in the published order, others by name."""
        names = sorted({*self.rows[self.by].tolist()})
        return tuple(component_order(names) if self.by == "component" else names)

    @property
    def moved(self) -> Cells:
        """The cells in which a weight moved."""
        return Cells(self.stack, self.by, rows_at(self.rows, floats(self.rows["moved"]) > 0))

    def matrix(self, name: str) -> Array:
        """Return a column of `rows` as float64, layers × columns; NaN where it is missing."""
        whole = np.full((len(self.layers), len(self.columns)), np.nan)
        row_of = {layer: i for i, layer in enumerate(self.layers)}
        column_of = {column: j for j, column in enumerate(self.columns)}
        at = [row_of[layer] for layer in self.rows["layer"]]
        whole[at, [column_of[column] for column in self.rows[self.by]]] = floats(self.rows[name])
        return whole

    def table(self, name: str) -> pd.DataFrame:
        """Return `matrix` as a frame with its names."""
        return self._framed(self.matrix(name))

    @cached_property
    def doubtful(self) -> pd.DataFrame:
        """Cells whose change does not stand out of the storage dtype's rounding; bool."""
        return self._framed(faint(self.matrix("snr")))

    @cached_property
    def rounded(self) -> pd.DataFrame:
        """Doubtful cells whose change was rounded, as an unmerged adapter's was not; bool."""
        return self._framed(faint(self.matrix("snr")) & (self.matrix("stored") > 0))

    def _framed(self, whole: Array) -> pd.DataFrame:
        import pandas as pd

        index: pd.Index[Any] = pd.Index([*self.layers], name="layer")
        return pd.DataFrame(whole, index, [*self.columns])


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
    weights = rows_at(diff.columns, diff.columns["param"] == "weight")
    if matrices:  # shares are then of the matrices, else of the whole diff
        sides = [shape is not None and len(shape) > 1 for shape in weights["shape"]]
        weights = rows_at(weights, np.array(sides, bool))
        diff = Diff(weights, diff.about)
    long = diff.grouped(*keys, metrics=wanted, param="weight")
    placed = there(long["stack"]) & there(long["layer"]) & there(long[by])
    rows = rows_at(long, placed)
    rows |= _sums(weights, rows, keys)
    return tuple(Cells(stack, by, rows_at(rows, rows["stack"] == stack)) for stack in stacks(rows))


def stacks(rows: Columns) -> list[str]:
    """Return the stacks of groups, as `Diff.grouped` gives them, the one that moved most first."""
    sizes = dict.fromkeys(rows["stack"].tolist(), 0)
    for stack, params, moved in zip(rows["stack"], rows["params"], rows["moved"], strict=True):
        sizes[stack] += params if moved else 0
    return sorted(sizes, key=lambda stack: (sizes[stack], stack), reverse=True)


def _sums(weights: Columns, rows: Columns, keys: Sequence[str]) -> dict[str, Array]:
    """Return `SUMS`, and whether both sides are stored, of the weights of a cell that moved."""
    moved = rows_at(weights, among(weights["status"], MOVED))
    names, members = groups(moved, keys)
    place = {name: i for i, name in enumerate(names)}
    at = [place.get(key, len(place)) for key in zip(*(rows[name] for name in keys), strict=True)]
    held = {"stored": np.where(members.count(~there(moved["tuned_dtype"])) == 0, 1.0, 0.0)}
    for name in SUMS:
        known = members.where(there(moved[name]))
        held[name] = np.where(known.sizes > 0, known.totals(floats(moved[name])), 0.0)
    return {name: np.append(values, np.nan)[at] for name, values in held.items()}
