"""What heatmaps show, as plain values: layers × components of each stack, for many metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.analyses.unmoved import unmoved
from ftdiff.comparison.cells import Cells, cells
from ftdiff.comparison.result import Diff
from ftdiff.comparison.shown_metric import shown_metric, shown_metrics
from ftdiff.comparison.sublayers import Row, unfolded
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS, faint
from ftdiff.naming.projections import column_order
from ftdiff.naming.stack_order import stack_labels, stack_order
from ftdiff.numbers import number
from ftdiff.tensors import Array

__all__ = ["Map", "described", "maps", "shown_metric", "shown_metrics"]

#: Names in files decide how many cells there would be; a page has to stay a page.
MOST_LAYERS, _MOST_COMPONENTS, _MOST_STACKS = 512, 40, 24
# Beyond this no scale can be computed.
_LARGEST = 1e100


@dataclass(frozen=True)
class Map:
    """The cells of one stack.

    Attributes
    ----------
    stack
        The tower, "" for the main one.
    layers
        Row names, ascending: a layer, or where lists are nested a layer and sublayer ("up 1.0").
    components
        Column names in the published order.
    values
        For each metric, float64, layers × components; NaN where there is no value.
    doubtful
        bool, layers × components: cells that do not stand out of the storage dtype's rounding.
    tensors, moved
        int64, layers × components: how many weights each cell is made of, and how many moved.
    left_out
        Columns that are not here: norms beside projections, and what would be too many.
    numbers
        The layer that each row is of.
    label
        What people call the stack: "up", "double", "text encoder"; "" for a lone one.
    still
        What is said in its place where no weight of it moved; "" where one did.
    of, title
        On a page, which of its diffs it is of, and what stands above it.
    """

    stack: str
    layers: tuple[int | str, ...]
    components: tuple[str, ...]
    values: Mapping[str, Array]
    doubtful: Array
    tensors: Array
    moved: Array
    left_out: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    label: str = ""
    still: str = ""
    of: int = 0
    title: str = ""

    def row(self, i: int) -> str:
        """Return what a row is called in a sentence: "layer 3", or "up 1.0"."""
        layer = self.layers[i]
        return f"layer {layer}" if isinstance(layer, int) else layer

    def only(self, components: Collection[str]) -> Map:
        """Return these components, where any of them has a value; else the same."""
        kept = [j for j, name in enumerate(self.components) if name in components]
        there = any(np.isfinite(cells[:, kept]).any() for cells in self.values.values())
        if not there:
            return self
        return replace(
            self,
            components=tuple(self.components[j] for j in kept),
            values={name: cells[:, kept] for name, cells in self.values.items()},
            doubtful=self.doubtful[:, kept],
            tensors=self.tensors[:, kept],
            moved=self.moved[:, kept],
        )


def maps(diff: Diff, metrics: Sequence[str]) -> tuple[Map, ...]:
    """Take the cells of every stack from a diff's weights, in the model's own order.

    Parameters
    ----------
    diff
        What is shown.
    metrics
        Names of metrics that the diff holds.

    Raises
    ------
    UnknownName, BadCall
        A metric does not exist, or was not measured.
    """
    wanted = tuple(dict.fromkeys((*metrics, "snr")))
    rows = unfolded(diff)
    every = {one.stack: one for one in cells(rows.diff, wanted)}
    labels = stack_labels(every)
    drawn = {
        stack: _map(one, wanted, rows.rows(stack, one.layers), labels[stack])
        for stack, one in every.items()
    }
    kept = {
        stack: one
        for stack, one in drawn.items()
        if any(np.isfinite(values).any() for values in one.values.values())
    }
    most = [*kept][:_MOST_STACKS]  # those that moved most
    several = len(kept) > 1
    return tuple(
        _said(kept[stack], diff, stack if several else None) for stack in stack_order(most)
    )


def _said(one: Map, diff: Diff, stack: str | None) -> Map:
    """Give a map what is said in its place, where nothing of it moved."""
    weights = int(one.tensors.sum())
    if one.moved.any() or not weights:
        return one
    return replace(one, still=one_line(unmoved(diff, weights, stack)))


def _map(one: Cells, wanted: Sequence[str], rows: Sequence[Row], label: str) -> Map:
    columns, left_out = _columns(one, wanted[0])
    kept = [one.columns.index(name) for name in columns]

    def drawn(whole: Array) -> Array:
        return whole[:MOST_LAYERS, kept]

    values = {name: drawn(one.matrix(name)) for name in wanted}
    sizes = {name: drawn(one.matrix(name)) for name in ("tensors", "moved")}
    return Map(
        stack=one_line(one.stack),
        label=one_line(label),
        layers=tuple(row.name for row in rows[:MOST_LAYERS]),
        numbers=tuple(row.layer for row in rows[:MOST_LAYERS]),
        components=tuple(one_line(name) for name in columns),
        values={name: np.where(np.abs(v) <= _LARGEST, v, np.nan) for name, v in values.items()},
        doubtful=drawn(faint(one.matrix("snr"))),
        tensors=np.nan_to_num(sizes["tensors"]).astype(np.int64),
        moved=np.nan_to_num(sizes["moved"]).astype(np.int64),
        left_out=tuple(one_line(name) for name in left_out),
    )


def _columns(one: Cells, metric: str) -> tuple[list[str], list[str]]:
    """Choose the columns: no norms beside matrices, whose numbers are of another size."""
    sizes, values = np.nansum(one.matrix("params"), axis=0), one.matrix(metric)
    size_of = dict(zip(one.columns, sizes.tolist(), strict=True))
    valued = {name for name, held in zip(one.columns, values.T, strict=True) if _any(held)}
    matrices = [name for name in one.columns if not name.startswith("norm.") and name in valued]
    ranked = sorted(matrices or one.columns, key=lambda name: -size_of[name])
    large = {*ranked[:_MOST_COMPONENTS]}
    kept = column_order(name for name in one.columns if name in large)
    return kept, [name for name in one.columns if name not in large and name in valued]


def _any(values: Array) -> bool:
    return not np.isnan(values).all()


def described(one: Map, metric: str) -> str:
    """Say what a heatmap shows, for who does not see it."""
    cells = one.values[metric]
    label = METRICS[metric].label
    size = f"{len(one.layers)} layers × {len(one.components)} components"
    of = f" of the stack {one.label or one.stack}" if one.label or one.stack else ""
    if not np.isfinite(cells).any():
        return f"Heatmap of {label}{of}, {size}: no cell has a value."
    ends = (_cell(one, cells, int(find(cells))) for find in (np.nanargmax, np.nanargmin))
    return f"Heatmap of {label}{of}, {size}: " + "; ".join(
        f"{word} {end}" for word, end in zip(("largest", "smallest"), ends, strict=True)
    )


def _cell(one: Map, cells: Array, at: int) -> str:
    row, column = divmod(at, cells.shape[1])
    return f"{number(float(cells[row, column]), 3)} in {one.row(row)}, {one.components[column]}"
