"""`Grid`: layers × components of one metric, with the twins that its controls need."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ftdiff.comparison.cells import SUMS, Cells, cells
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS
from ftdiff.naming.stack_order import row_word, stack_labels
from ftdiff.tensors import Array

#: Metrics that controls need beside the one that is read.
_CONTROLS = ("rms_change", "scale_share", "snr")
#: Twins of the metric, cell by cell, by the name of their column.
TWINS = (*_CONTROLS, *SUMS, "params")


#: Layers and components up to which patterns are looked for: what that takes grows with the square
#: of either.
DEEPEST, WIDEST = 512, 64


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells to be read: matrices of one stack, layer by layer.

    Attributes
    ----------
    values
        float64, layers × components; NaN where there is no value, it is not positive, or it is
        drowned in the storage dtype's rounding: its pattern would be that of rounding.
    metric
        What the values are.
    stack, called
        The tower they are of, and what sentences call it.
    twins
        Like `values`, by a name of `TWINS`; empty for a plain matrix.
    drowned
        Cells that were left out since what is stored does not stand out of rounding
        (`ftdiff.metrics.TRUSTED_SNR`), as (layer, component).
    diff
        Where it comes from; None for a plain matrix.
    """

    values: pd.DataFrame
    metric: str
    stack: str = ""
    twins: dict[str, pd.DataFrame] = field(default_factory=dict)
    drowned: tuple[tuple[Hashable, str], ...] = ()
    diff: Diff | None = None
    called: str = ""

    @cached_property
    def log(self) -> pd.DataFrame:
        """Logarithms of the values: ratios become differences."""
        return self.values.apply(np.log)

    def full(self, least: int = 1) -> pd.DataFrame:
        """Return the logarithms of the largest part without a gap: components in all layers.

        Components that lack more than half of the layers are left out, then layers with a gap.
        Empty where fewer than `least` layers remain.
        """
        kept = self.log.loc[:, self.log.notna().mean() > 0.5].dropna()
        return kept if len(kept) >= least else kept.iloc[:0]

    def cells(self, component: str) -> tuple[tuple[Hashable, str], ...]:
        """Return the cells of a column that have a value."""
        column = self.values[component].dropna()
        return tuple((layer, component) for layer in column.index)

    @property
    def is_too_large(self) -> bool:
        """Whether there are more layers or components than patterns are looked for in."""
        return len(self.values) > DEEPEST or len(self.values.columns) > WIDEST

    @property
    def where(self) -> str:
        """Words that say which stack a sentence is of, or nothing."""
        return f" of the {self.called}" if self.called else ""


def grids(data: Diff | pd.DataFrame, metric: str = "relative_norm") -> list[Grid]:
    """Return a grid for each stack of a diff that has layers, or the one of a plain matrix.

    Raises
    ------
    BadCall
        The data is neither, or the matrix does not hold numbers.
    UnknownName
        No metric has that name.
    """
    if isinstance(data, Diff):
        return _of_diff(data, metric)
    if not isinstance(data, pd.DataFrame):
        raise BadCall(f"findings are of a Diff or a DataFrame, this is {type(data).__name__}")
    try:
        values = data.astype(float)
    except (TypeError, ValueError) as error:
        raise BadCall(f"the matrix holds something that is no number: {error}") from error
    if not (values.index.is_unique and values.columns.is_unique):
        raise BadCall("the matrix has a layer or a column twice")
    if pd.api.types.is_numeric_dtype(values.index):
        values = values.sort_index()
    values.index = pd.Index([_plain(layer) for layer in values.index], name="layer")
    values.columns = pd.Index([str(name) for name in values.columns])
    return [Grid(_positive(values), metric)]


def robust_z(values: Array, floor: float = 0.02) -> Array:
    """Return distances from the median in robust standard deviations.

    Parameters
    ----------
    values
        One-dimensional, in logarithms.
    floor
        The least median absolute deviation; 0.02 is 2 % of the median.
    """
    middle = np.median(values)
    spread = max(float(np.median(np.abs(values - middle))), floor)
    scores: Array = (values - middle) / (1.4826 * spread)
    return scores


def _of_diff(diff: Diff, metric: str) -> list[Grid]:
    METRICS[metric]
    wanted = tuple(dict.fromkeys((metric, *(name for name in _CONTROLS if name in METRICS))))
    every = [one.moved for one in cells(diff, wanted, matrices=True)]
    stacks = [one.stack for one in every]
    return [
        replace(_of_stack(diff, metric, one), called=_called(one.stack, stacks))
        for one in sorted(every, key=lambda one: one.stack)
        if len(one)
    ]


def _called(stack: str, stacks: Sequence[str]) -> str:
    """Return what sentences call a stack: "vision", "up blocks"; "" for the only one.

    >>> _called("", ["", "vision"]), _called("", ["", "single_transformer_blocks"])
    ('language', 'double blocks')
    >>> _called("", [""])
    ''
    """
    label = stack_labels(stacks)[stack]
    if row_word(stack, stacks):
        return f"{label} blocks"
    return "main stack" if label == "main" else label


def _of_stack(diff: Diff, metric: str, found: Cells) -> Grid:
    twins = {name: found.table(name) for name in TWINS if name in found.rows}
    values = _positive(found.table(metric))
    under = found.rounded & values.notna()
    drowned = [(values.index[i], values.columns[j]) for i, j in np.argwhere(under.to_numpy())]
    return Grid(values.mask(under), metric, found.stack, twins, tuple(drowned), diff)


def _positive(values: pd.DataFrame) -> pd.DataFrame:
    return values.where((values > 0) & np.isfinite(values))


def _plain(layer: object) -> int | str:
    return int(layer) if isinstance(layer, (int, np.integer)) else str(layer)
