"""What a heatmap shows: one number for each layer and column, and which of them are doubtful."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ftdiff.comparison.cells import cells
from ftdiff.comparison.result import Diff
from ftdiff.comparison.sublayers import unfolded
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS, TRUSTED_SNR, faint
from ftdiff.plots.elements.colours import LARGEST
from ftdiff.plots.elements.labels import shown
from ftdiff.registry import Registry

# Layers missing from a diff are drawn as blank rows, up to this many: indices come from names in
# files, and a hostile one must not make a million rows.
_MOST_LAYERS = 1024


@dataclass(frozen=True)
class Matrix:
    """Cells to draw.

    Attributes
    ----------
    values
        float64, a row per layer from 0 up, or where lists are nested a row per layer and sublayer
        ("up 1.0"); NaN where there is no value.
    label
        What the numbers are, for the colour bar.
    doubtful
        bool, like `values`: cells that do not stand out of the storage dtype's rounding.
    stack
        The tower of a diff that this is of.
    title
        What is drawn where a choice was made ("decoder"), or "".
    notes
        What a reader has to know, as short clauses.
    """

    values: pd.DataFrame
    label: str
    doubtful: pd.DataFrame
    stack: str = ""
    title: str = ""
    notes: tuple[str, ...] = ()

    def only(self, columns: Sequence[Hashable]) -> Matrix:
        """Return these columns, in this order."""
        kept = list(columns)
        return replace(self, values=self.values[kept], doubtful=self.doubtful[kept])

    def legend(self, missing: str = "grey", mark: str = "hatched") -> list[str]:
        """Say how missing and doubtful cells are drawn, where there are any, and then the notes."""
        said = []
        if self.values.isna().to_numpy().any():
            said.append(f"{missing}: no value")
        if self.doubtful.to_numpy().any():
            said.append(untrusted(mark))
        return [*said, *self.notes]


def untrusted(mark: str) -> str:
    """Say what a mark of doubt means.

    >>> untrusted("hatched")
    'hatched: not above rounding (snr < 10)'
    """
    return f"{mark}: not above rounding (snr < {TRUSTED_SNR:g})"


def matrix_of(
    diff: Diff | pd.DataFrame,
    metric: str,
    *,
    columns: str = "component",
    stack: str | None = None,
) -> Matrix:
    """Take the cells from a diff or from a plain matrix.

    Parameters
    ----------
    diff
        A diff, or a matrix with layers as rows.
    metric
        A metric's name; for a plain matrix any text.
    columns
        The column of the diff's frame that makes the columns: "component" or "module".
    stack
        Which tower of the diff; by default the one with the most parameters that moved.

    Raises
    ------
    UnknownName
        The diff has no such metric or stack.
    BadCall
        There is nothing to draw, or the matrix is not one of numbers.
    """
    if isinstance(diff, Diff):
        found = _of_diff(diff, metric, columns, stack)
    elif isinstance(diff, pd.DataFrame):
        if stack is not None:
            raise BadCall(f"stack={stack!r}: a plain matrix has no stacks; draw a Diff")
        found = _of_frame(diff, metric)
    else:
        raise BadCall(f"a heatmap draws a Diff or a DataFrame, this is {type(diff).__name__}")
    found = bounded(found)
    if not found.values.notna().to_numpy().any():
        raise BadCall(f"nothing to draw: {_why_empty(diff, metric)}")
    return found


def bounded(matrix: Matrix) -> Matrix:
    """Blank what is infinite, or so large that no scale can be computed, and say how many."""
    size = matrix.values.abs()
    beyond = int((size > LARGEST).to_numpy().sum())
    values = matrix.values.mask(size > LARGEST).mask(size < 1 / LARGEST, 0.0)
    notes = (f"{beyond} infinite, left blank",) if beyond else ()
    return replace(matrix, values=values, notes=(*matrix.notes, *notes))


def whole_layers(diff: Diff, metric: str, stack: str, index: pd.Index[Any]) -> pd.Series[float]:
    """Return the metric over all weights of each row of a stack, aligned to `index`."""
    rows = unfolded(diff)
    long = rows.diff.by("stack", "layer", metrics=(metric,), param="weight")
    long = long[(long["stack"] == stack) & long["layer"].notna()]
    names = pd.Index(rows.names(stack, long["layer"]), name="layer")
    return long.set_index(names)[metric].astype(float).reindex(index)


def _of_diff(diff: Diff, metric: str, columns: str, stack: str | None) -> Matrix:
    label = METRICS[metric].label
    rows = unfolded(diff)
    every = {one.stack: one for one in cells(rows.diff, (metric,), by=columns)}
    if not every:
        raise BadCall(
            "nothing to draw: no weight of this diff is in a layer; see diff.by('tensor')"
        )
    chosen, title, notes = choose_stack(list(every), stack)
    values, snr = (filled(every[chosen].table(name)) for name in (metric, "snr"))
    if chosen in rows.nested:
        names = pd.Index(rows.names(chosen, values.index), name="layer")
        values, snr = values.set_axis(names), snr.set_axis(names)
    return Matrix(values, label, doubts(snr, values), chosen, title, notes)


def doubts(snr: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Say which values do not stand out of rounding."""
    return faint(snr) & values.notna()


def choose_stack(
    stacks: Sequence[str], stack: str | None = None
) -> tuple[str, str, tuple[str, ...]]:
    """Return which stack to draw, the first or the one named, its title, and what of the others."""
    if stack is not None:
        Registry("stack", dict.fromkeys(stacks))[stack]
    chosen = stack if stack is not None else stacks[0]
    others = [repr(shown(name)) for name in sorted(stacks) if name != chosen]
    if not others:
        return chosen, "", ()
    return chosen, shown(chosen) or "main stack", (f"also: stack={' or '.join(others)}",)


def filled(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the order of layers, with a blank one for each that is not there."""
    layers = [int(layer) for layer in wide.index]
    wide = wide.set_axis(pd.Index(layers, name="layer")).sort_index()
    if max(layers) < _MOST_LAYERS:
        wide = wide.reindex(pd.RangeIndex(max(layers) + 1, name="layer"))
    return wide


def _of_frame(frame: pd.DataFrame, metric: str) -> Matrix:
    for axis, names in (("row", frame.index), ("column", frame.columns)):
        if not names.is_unique:
            raise BadCall(f"{axis} {names[names.duplicated()][0]!r} is there more than once")
    try:
        values = frame.astype(float)
    except (TypeError, ValueError) as error:
        raise BadCall(f"the matrix holds something that is no number: {error}") from error
    if pd.api.types.is_numeric_dtype(values.index):
        values = values.sort_index()
    label = METRICS[metric].label if metric in METRICS else metric
    return Matrix(values, label, values.isna() & False)


def _why_empty(diff: Diff | pd.DataFrame, metric: str) -> str:
    if isinstance(diff, Diff) and diff.about.get("base") is None:
        return f"{metric} has no value in any layer; without a base try metric='rms_change'"
    return f"{metric} has no value in any layer"
