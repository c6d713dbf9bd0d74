"""Frames around cells: those that are named, and those that findings speak of."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ftdiff.analyses.finding import Finding
from ftdiff.errors import BadCall
from ftdiff.plots.elements.axes import INK
from ftdiff.plots.elements.cells import OUTLINE
from ftdiff.plots.elements.labels import component_of
from ftdiff.tensors import Array

#: A cell, as (layer, column), or a finding with the cells that it is of.
Outlined: TypeAlias = tuple[Hashable, str] | Finding
#: A rectangle of cells: column and row of its corner, how many columns and rows.
Box: TypeAlias = tuple[int, int, int, int]


def outline(ax: Axes, values: pd.DataFrame, wanted: Iterable[Outlined], stack: str = "") -> None:
    """Draw a frame around each cell, and around each block of cells of a finding.

    Parameters
    ----------
    ax, values
        The map, and the numbers that it shows.
    wanted
        Cells as (layer, column), or findings; where lists are nested, the layer is the name of a
        row ("up 1.0") or the number of several. Of findings, what is of another stack or not on
        the map is left out, and what speaks of the whole map.
    stack
        The tower that the map is of.

    Raises
    ------
    BadCall
        The map has no such cell.
    """
    boxes: dict[Box, None] = {}
    for one in wanted:
        if isinstance(one, Finding):
            if one.evidence.get("stack", stack) == stack:
                boxes |= dict.fromkeys(_boxes(_of_finding(values, one)))
            continue
        layer, column = one[0], component_of(one[1])
        rows = rows_of(values.index, layer)
        if not rows or column not in values.columns:
            raise BadCall(f"outline: the map has no cell at layer {layer!r}, {one[1]!r}")
        boxes |= {(list(values.columns).index(column), row, 1, 1): None for row in rows}
    for x, y, width, height in boxes:
        ax.add_patch(
            Rectangle(
                (x, y),
                width,
                height,
                fill=False,
                edgecolor=INK,
                linewidth=1.3,
                gid=OUTLINE,
                zorder=3,
            )
        )


def rows_of(index: pd.Index[Any], layer: Hashable) -> list[int]:
    """Return the rows of a layer: the one that is called so, or of its sublayers all.

    >>> rows_of(pd.Index(["up 0.0", "up 1.0", "up 1.1", "up 1"]), 1)
    [1, 2, 3]
    """
    names = list(index)
    if layer in names:
        return [names.index(layer)]
    if not isinstance(layer, int):
        return []
    named = re.compile(rf"(?:[a-z]+ )?{layer}(?:[.][0-9.]+)?")
    return [
        row for row, name in enumerate(names) if isinstance(name, str) and named.fullmatch(name)
    ]


def _of_finding(values: pd.DataFrame, finding: Finding) -> Array:
    """Return, cell by cell, what a finding speaks of; nothing if that is all there is."""
    spoken = np.zeros(values.shape, bool)
    rows = {layer: rows_of(values.index, layer) for layer, _ in finding.cells}
    columns = {str(name): column for column, name in enumerate(values.columns)}
    for layer, name in finding.cells:
        if rows[layer] and component_of(name) in columns:
            spoken[rows[layer], columns[component_of(name)]] = True
    return spoken if (values.notna().to_numpy() & ~spoken).any() else np.zeros_like(spoken)


def _boxes(spoken: Array) -> list[Box]:
    """Cover cells with rectangles: runs of each column, joined where neighbours have the same.

    >>> _boxes(np.array([[True, True, False], [True, True, False], [False, False, True]]))
    [(0, 0, 2, 2), (2, 2, 1, 1)]
    """
    found: list[Box] = []
    before: Sequence[tuple[int, int]] = ()
    for x, column in enumerate(spoken.T):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(int), [0]])))
        runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
        for start, stop in runs:
            if (start, stop) in before:
                k = next(
                    k
                    for k, (left, y, width, height) in enumerate(found)
                    if (y, y + height) == (start, stop) and left + width == x
                )
                left, y, width, height = found[k]
                found[k] = (left, y, width + 1, height)
            else:
                found.append((x, start, 1, stop - start))
        before = runs
    return found
