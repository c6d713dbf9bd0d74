"""What a heatmap shows: one number for each layer and column, and which of them are doubtful."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ftdiff.comparison.cells import cells
from ftdiff.comparison.frame import among, there
from ftdiff.comparison.result import Diff
from ftdiff.comparison.shown_metric import USUAL, shown_metric
from ftdiff.comparison.stack_names import stack_named
from ftdiff.comparison.statuses import STILL
from ftdiff.comparison.sublayers import unfolded
from ftdiff.errors import BadCall
from ftdiff.metrics import METRICS, TRUSTED_SNR, faint
from ftdiff.naming.stack_order import stack_labels, stack_order
from ftdiff.plots.elements.colours import LARGEST
from ftdiff.plots.elements.labels import shown
from ftdiff.plots.elements.titles import own_title

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
        What was compared with what, and which stack this is where there are several.
    notes
        What a reader has to know, as short clauses.
    still
        Says that nothing of the stack moved; "" where something did.
    metric
        The metric's name, or any text of a plain matrix.
    counts
        By column, how many weights of the stack's layers moved, of how many; of a plain matrix
        none.
    """

    values: pd.DataFrame
    label: str
    doubtful: pd.DataFrame
    stack: str = ""
    title: str = ""
    notes: tuple[str, ...] = ()
    still: str = ""
    metric: str = ""
    counts: Mapping[Hashable, tuple[int, int]] = field(default_factory=dict)

    @property
    def counted(self) -> tuple[str, ...]:
        """How many of the weights that are drawn moved, in words; nothing of a plain matrix."""
        return counted([self])

    def only(self, columns: Sequence[Hashable]) -> Matrix:
        """Return these columns, in this order."""
        kept = list(columns)
        counts = {name: self.counts[name] for name in kept if name in self.counts}
        still = _unmoved(sum(of for _, of in counts.values())) if self.still and counts else ""
        return replace(
            self,
            values=self.values[kept],
            doubtful=self.doubtful[kept],
            counts=counts,
            still=still or self.still,
        )

    def legend(self, missing: str = "grey", mark: str = "hatched") -> list[str]:
        """Say how missing and doubtful cells are drawn, where there are any, and then the notes."""
        said = []
        if self.values.isna().to_numpy().any():
            said.append(f"{missing}: no value")
        if self.doubtful.to_numpy().any():
            said.append(untrusted(mark))
        return [*said, *self.notes]


def counted(maps: Iterable[Matrix]) -> tuple[str, ...]:
    """Say how many of the weights of some maps moved; nothing of plain matrices."""
    both = [pair for one in maps for pair in one.counts.values()]
    moved, of = (sum(pair[side] for pair in both) for side in (0, 1))
    return (f"{moved:,} of {of:,} weights moved",) if of else ()


def untrusted(mark: str) -> str:
    """Say what a mark of doubt means.

    >>> untrusted("hatched")
    'hatched: not above rounding (snr < 10)'
    """
    return f"{mark}: not above rounding (snr < {TRUSTED_SNR:g})"


def default_metric(data: object) -> str:
    """Return what is drawn where no metric is named: of a diff one that has values."""
    return shown_metric(data) if isinstance(data, Diff) else USUAL


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
        Which tower of the diff, by its name or label; by default the one with the most parameters
        that moved.

    Raises
    ------
    UnknownName
        The diff has no such metric or stack.
    BadCall
        There is nothing to draw, or the matrix is not one of numbers.
    """
    if isinstance(diff, Diff):
        every = matrices_of(diff, metric, columns=columns)
        chosen, label, notes = choose_stack([*every], stack)
        found = every[chosen]
        title = own_title(diff.about, label)
        found = replace(found, title=title, notes=(*found.notes, *notes))
    elif isinstance(diff, pd.DataFrame):
        if stack is not None:
            raise BadCall(f"stack={stack!r}: a plain matrix has no stacks; draw a Diff")
        found = bounded(_of_frame(diff, metric))
    else:
        raise BadCall(f"a heatmap draws a Diff or a DataFrame, this is {type(diff).__name__}")
    if not found.still and not found.values.notna().to_numpy().any():
        raise BadCall(f"nothing to draw: {why_empty(diff, metric)}")
    return found


def matrices_of(diff: Diff, metric: str, *, columns: str = "component") -> dict[str, Matrix]:
    """Take the cells of every stack of a diff, the stack that moved most first.

    Raises
    ------
    UnknownName, BadCall
        As for `matrix_of`.
    """
    label = METRICS[metric].label
    rows = unfolded(diff)
    found = {}
    for one in cells(rows.diff, (metric,), by=columns):
        values, snr = (filled(one.table(name)) for name in (metric, "snr"))
        names = pd.Index(rows.names(one.stack, values.index), name="layer")
        values, snr = values.set_axis(names), snr.set_axis(names)
        moved, tensors = (one.table(name).sum().to_dict() for name in ("moved", "tensors"))
        found[one.stack] = bounded(
            Matrix(
                values,
                label,
                doubts(snr, values),
                one.stack,
                still=_still(rows.diff, one.stack),
                metric=metric,
                counts={name: (int(moved[name]), int(tensors[name])) for name in values},
            )
        )
    if not found:
        raise BadCall(
            "nothing to draw: no weight of this diff is in a layer; see diff.by('tensor')"
        )
    return found


def _still(diff: Diff, stack: str) -> str:
    """Say that no weight of a stack moved, where each is the base's."""
    columns = diff.columns
    weights = (columns["stack"] == stack) & (columns["param"] == "weight") & there(columns["layer"])
    statuses = columns["status"][weights]
    if not among(statuses, STILL).all():
        return ""
    return _unmoved(len(statuses))


def _unmoved(weights: int) -> str:
    return f"Nothing moved in this map: all {weights:,} weights of it are the base's"


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


def doubts(snr: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Say which values do not stand out of rounding."""
    return faint(snr) & values.notna()


def choose_stack(
    stacks: Sequence[str], stack: str | None = None
) -> tuple[str, str, tuple[str, ...]]:
    """Return which stack to draw, the first or the one named, its label, and what of the others."""
    labels = stack_labels(stacks)
    chosen = stacks[0] if stack is None else stack_named(stacks, stack)
    others = [repr(shown(labels[name])) for name in stack_order(stacks) if name != chosen]
    if not others:
        return chosen, "", ()
    return chosen, shown(labels[chosen]), (f"also: stack={' or '.join(others)}",)


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
    return Matrix(values, label, values.isna() & False, metric=metric)


def why_empty(diff: Diff | pd.DataFrame, metric: str) -> str:
    """Say why no cell has a value."""
    if isinstance(diff, Diff) and diff.about.get("base") is None:
        return f"{metric} has no value in any layer; without a base try metric='rms_change'"
    return f"{metric} has no value in any layer"
