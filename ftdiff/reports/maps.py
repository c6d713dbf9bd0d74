"""What heatmaps show, as plain values: layers × components of each stack, for many metrics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.comparison.cells import Cells, cells
from ftdiff.comparison.frame import there
from ftdiff.comparison.result import Diff
from ftdiff.comparison.sublayers import Row, unfolded
from ftdiff.errors import one_line
from ftdiff.metrics import METRICS, faint
from ftdiff.tensors import Array

#: Names in files decide how many cells there would be; a page has to stay a page.
MOST_LAYERS, _MOST_COMPONENTS, _MOST_STACKS = 512, 40, 6
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
        Where lists are nested, the layer that each row is of.
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


def shown_metrics(diff: Diff) -> list[str]:
    """Return the metrics that the frame holds and that some tensor has, in its order."""
    columns = diff.columns
    return [name for name in columns if name in METRICS and there(columns[name]).any()]


def shown_metric(diff: Diff, wanted: str = "relative_norm") -> str:
    """Return the metric to show: the wanted one, or where it has no value the first that has.

    Raises
    ------
    UnknownName
        There is no metric of that name.
    """
    there = shown_metrics(diff)
    choice = [METRICS[wanted].name, "rms_change", *there]
    return next((name for name in choice if name in there), wanted)


def maps(diff: Diff, metrics: Sequence[str]) -> tuple[Map, ...]:
    """Take the cells of every stack from a diff's weights, the stack that moved most first.

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
    found = [
        _map(one, wanted, rows.rows(one.stack, one.layers)) for one in cells(rows.diff, wanted)
    ]
    kept = [one for one in found if any(np.isfinite(v).any() for v in one.values.values())]
    return tuple(kept[:_MOST_STACKS])


def _map(one: Cells, wanted: Sequence[str], rows: Sequence[Row]) -> Map:
    columns, left_out = _columns(one, wanted[0])
    kept = [one.columns.index(name) for name in columns]

    def drawn(whole: Array) -> Array:
        return whole[:MOST_LAYERS, kept]

    values = {name: drawn(one.matrix(name)) for name in wanted}
    sizes = {name: drawn(one.matrix(name)) for name in ("tensors", "moved")}
    return Map(
        stack=one_line(one.stack),
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
    kept = [name for name in one.columns if name in large]
    return kept, [name for name in one.columns if name not in large and name in valued]


def _any(values: Array) -> bool:
    return not np.isnan(values).all()


def described(one: Map, metric: str) -> str:
    """Say what a heatmap shows, for who does not see it."""
    cells = one.values[metric]
    label = METRICS[metric].label
    size = f"{len(one.layers)} layers × {len(one.components)} components"
    of = f" of the stack {one.stack}" if one.stack else ""
    if not np.isfinite(cells).any():
        return f"Heatmap of {label}{of}, {size}: no cell has a value."
    ends = (_cell(one, cells, int(find(cells))) for find in (np.nanargmax, np.nanargmin))
    return f"Heatmap of {label}{of}, {size}: " + "; ".join(
        f"{word} {end}" for word, end in zip(("largest", "smallest"), ends, strict=True)
    )


def _cell(one: Map, cells: Array, at: int) -> str:
    row, column = divmod(at, cells.shape[1])
    return f"{cells[row, column]:.3g} in layer {one.layers[row]}, {one.components[column]}"
