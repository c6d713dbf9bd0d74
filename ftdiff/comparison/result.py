"""`Diff`: columns with a row per tensor, what they were made from, and what regroups them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.comparison import aggregation, diff_document, storage
from ftdiff.comparison import frame as frames
from ftdiff.comparison.aggregation import Over
from ftdiff.comparison.column_words import described
from ftdiff.comparison.frame import IDENTITY, PARTS, Columns
from ftdiff.comparison.metric_columns import sums_of, with_metrics
from ftdiff.comparison.next_steps import NextSteps
from ftdiff.comparison.statuses import PAIRED
from ftdiff.errors import BadCall, unknown
from ftdiff.metrics import METRICS, measurable, resolve
from ftdiff.metrics.names import several
from ftdiff.naming import component_order
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Diff(NextSteps):
    """What changed between a base and a fine-tune.

    Attributes
    ----------
    data
        Columns (see `ftdiff.comparison.frame`), or a frame to take them from: a row per tensor of
        either side. They are what the tensor is (`tensor, stack, layer, sublayer, block, role,
        component, module, param, expert, status, form, shape, numel, base_dtype, tuned_dtype`, and
        `note` and `reason`: what is odd about it, in words and as codes), the sums, and one column
        for each metric. A value that was not measured is missing, never 0: a tensor with NaN or
        Inf has counts, and no sums.
    about
        Sources, kind, coverage, what was left out and why, versions.
    """

    data: Columns | pd.DataFrame
    about: dict[str, Any]

    @cached_property
    def columns(self) -> Columns:
        """The columns as arrays."""
        return self.data if isinstance(self.data, Mapping) else frames.of_frame(self.data)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per tensor, made when it is first asked for.

        `attrs["columns"]` says of each its `meaning`, `unit` and `source`; of a metric its
        `formula`, `range` and `null`, too. Sums are of weights, counts of entries.
        """
        return frames.frame_of(self.data) if isinstance(self.data, Mapping) else self.data

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], about: dict[str, Any]) -> Diff:
        """Make the columns, with every metric of sums, from rows of identity and sums."""
        return cls.of_columns(frames.of_rows(rows), about)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, about: dict[str, Any]) -> Diff:
        """Add every metric of sums to a frame of identity and sums."""
        return cls.of_columns(frames.of_frame(frame), about)

    @classmethod
    def of_columns(cls, columns: Columns, about: dict[str, Any]) -> Diff:
        """Add every metric of sums to columns of identity and sums."""
        columns = frames.measured(columns)
        return cls(with_metrics(columns, columns, resolve(())), about)

    def adding(
        self, columns: Mapping[str, Mapping[str, float]], spectra: Mapping[str, Any]
    ) -> Diff:
        """Return the same with metrics that were measured tensor by tensor.

        Parameters
        ----------
        columns
            For each metric, its value by tensor; a tensor that is not named has none.
        spectra
            By tensor, how they were measured, the bound of their error and, of a whole
            spectrum, the curve that draws it (`ftdiff.metrics.linalg.spectrum_curve`); kept in
            `about["spectra"]`.
        """
        names = self.columns["tensor"]
        added = frames.typed(
            {metric: [values.get(name) for name in names] for metric, values in columns.items()}
        )
        about = {**self.about, "spectra": dict(spectra)} if spectra else self.about
        return Diff({**self.columns, **added}, about)

    def by(
        self,
        *columns: str,
        metrics: str | Sequence[str] = ("relative_norm",),
        param: str | None = None,
        over: Over = "all",
        vectors: bool = False,
    ) -> pd.DataFrame:
        """Regroup exactly, from sums: √Σ‖ΔW‖² / √Σ‖W‖², never the mean of ratios.

        A number is over weight matrices and kernels; a group that has none, or in which none of
        them moved and vectors did, is of its vectors. `of` says which, `counted` and `numel` over
        how many tensors and parameters; `tensors`, `moved` and `params` count all of the group. A
        tensor with NaN or Inf is left out; a group in which nothing else moved has no value.
        `energy_share` and `lift` are against everything that is on both sides. A metric that does
        not come from sums, as a spectral norm, is given where a group holds one tensor that moved.

        Parameters
        ----------
        *columns
            Columns of the frame: "layer", "component", "block", "stack", "expert", …; none gives
            one row for everything. "layer" brings "stack", and "sublayer" both: layers of other
            towers are other layers. Without "sublayer" a layer is all of its sublayers.
        metrics
            Names of metrics, as in `ftdiff metrics`.
        param
            Only these tensors ("weight", "bias"); all by default.
        over
            "all": every paired matrix, moved or not; of an adapter those that it targets.
            "moved": those in which at least one entry differs, the same for an adapter, its merge
            in float32, a linked and a real copy.
        vectors
            Norms and biases count too.

        Raises
        ------
        UnknownName
            A column or a metric does not exist.
        BadCall
            A metric was not measured; `over` is neither.
        """
        how = {"metrics": metrics, "param": param, "over": over, "vectors": vectors}
        grouped = frames.frame_of(self.grouped(*columns, **how))  # type: ignore[arg-type]
        return grouped.astype(dict.fromkeys(frames.COUNTED, "int64"))

    def grouped(
        self,
        *columns: str,
        metrics: str | Sequence[str] = ("relative_norm",),
        param: str | None = None,
        over: Over = "all",
        vectors: bool = False,
    ) -> Columns:
        """Return what `by` does, as columns."""
        metrics_of = resolve(metrics) if metrics else []
        for column in columns:
            if column not in self.columns:
                known = [name for name in (*IDENTITY, *PARTS) if name in self.columns]
                raise unknown("column", column, known)
        for outer, inner in (("layer", "sublayer"), ("stack", "layer")):
            if inner in columns and outer not in columns:
                columns = (outer, *columns)
        held = self.columns
        if param is not None:
            held = frames.rows_at(held, held["param"] == param)
        paired = frames.rows_at(held, frames.among(held["status"], PAIRED))
        chosen = aggregation.chosen(paired, columns, over, vectors)
        summed = aggregation.summed(paired, columns, chosen)
        pools = {metric.name: metric.pool for metric in metrics_of if metric.needs != "sums"}
        self._require([*pools])
        apart = aggregation.apart(paired, chosen, pools)
        whole = {**with_metrics(summed, self.columns, metrics_of), **apart}
        names = [*columns, *(metric.name for metric in metrics_of), *frames.COUNTED, "of"]
        return {name: whole[name] for name in names}

    def noise(self, metric: str) -> Array:
        """Return what noise alone gives for a metric, tensor by tensor; NaN where unknown.

        Raises
        ------
        UnknownName
            The metric does not exist.
        """
        return METRICS[metric].noise(sums_of(self.columns, self.columns))

    def expected(self, metric: str) -> pd.Series[float]:
        """Return what `noise` does, missing where unknown, beside the rows of the frame.

        Raises
        ------
        UnknownName
            The metric does not exist.
        """
        import pandas as pd

        return pd.Series(pd.array(self.noise(metric), "Float64"), self.frame.index, name=metric)

    def table(
        self,
        metric: str = "relative_norm",
        *,
        rows: str = "layer",
        columns: str = "component",
        param: str | None = "weight",
        over: Over = "all",
    ) -> pd.DataFrame:
        """Return the matrix that a heatmap shows: one metric, rows × columns, missing where NA.

        Parameters
        ----------
        metric
            A metric's name.
        rows, columns
            Columns of the frame; layers ascend, components stand in the published order.
        param
            Only these tensors: weights by default; None for all.
        over
            As in `by`. Layers of several towers are (stack, layer), sublayers (layer, sublayer).
        """
        long = self.by(rows, columns, metrics=(metric,), param=param, over=over)
        long = long.dropna(subset=[rows, columns])
        towers = {"layer", "sublayer"} & {rows, columns} and long["stack"].nunique() > 1
        at = [rows] if rows != "sublayer" else ["layer", rows]
        at = ["stack", *at] if towers and rows != "stack" else at
        wide = long.set_index([*at, columns])[metric].unstack().sort_index()
        if columns == "component":
            wide = wide[component_order(wide.columns)]
        wide = wide.astype(float)
        wide.attrs |= {"metric": metric, **described([metric])}
        return wide

    def keeping(self, metrics: str | Sequence[str]) -> Diff:
        """Return the same with only these metrics as columns; the sums stay."""
        wanted = several(metrics)
        kept = {n: v for n, v in self.columns.items() if n not in METRICS or n in wanted}
        return Diff(kept, self.about)

    @cached_property
    def overall(self) -> dict[str, float]:
        """Every metric of sums over all weight matrices (see `by`)."""
        return self.whole()

    def whole(self, over: Over = "all", vectors: bool = False) -> dict[str, float]:
        """Return every metric of sums over one group of everything; arguments are those of `by`."""
        row = self.everything(over, vectors)
        names = [metric.name for metric in resolve(()) if metric.name in row]
        return {name: float(row[name][0]) for name in names if not np.isnan(row[name][0])}

    def everything(self, over: Over = "all", vectors: bool = False) -> Columns:
        """Return the one group of everything, as columns, with every metric of sums."""
        if (over, vectors) not in self._everything:
            names = [metric.name for metric in resolve(())]
            row = self.grouped(metrics=names, over=over, vectors=vectors)
            self._everything[over, vectors] = row
        return self._everything[over, vectors]

    @cached_property
    def _everything(self) -> dict[tuple[Over, bool], Columns]:
        """What `everything` has returned."""
        return {}

    def save(self, path: str | Path) -> Path:
        """Write JSON (whole, exact to the bit), CSV or Parquet (the frame), by the path's ending.

        Raises
        ------
        BadCall
            The ending is none of .json, .csv, .parquet.
        MissingExtra
            Parquet needs pyarrow.
        """
        form, whole = diff_document.FORM, partial(diff_document.document, self.columns, self.about)
        return storage.save(Path(path), form, whole, lambda: self.frame, columns=self.columns)

    @classmethod
    def load(cls, path: str | Path) -> Diff:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved diff.
        """
        saved, about = storage.load(Path(path), diff_document.FORM, diff_document.parts)
        columns = frames.measured(saved)
        if columns is not saved:  # sums over the rest of what is not finite were kept once
            kept = [metric for metric in resolve(()) if metric.name in saved]
            columns = with_metrics(columns, columns, kept)
        return cls(columns, about)

    def _require(self, names: Sequence[str]) -> None:
        for name in (name for name in names if name not in self.columns):
            measurable([METRICS[name]])
            raise BadCall(f"{name} was not measured: compare with -m {name} (metrics=[{name!r}])")
