"""`Diff`: one tidy frame, a row per tensor, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ftdiff.comparison import aggregation as pools
from ftdiff.comparison import frame as frames
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison.frame import IDENTITY, PARTS
from ftdiff.deltas.moments import COLUMNS, exact
from ftdiff.errors import BadCall, UnknownName
from ftdiff.metrics import METRICS, Metric, Sums, resolve
from ftdiff.naming import component_order
from ftdiff.tensors import Array, matrices

#: Statuses of tensors that moved, or may have: what a ratio of a group is taken over.
MOVED = ("changed", "reshaped")
#: Statuses of tensors that are on both sides.
PAIRED = ("changed", "identical", "untouched", "reshaped")


@dataclass(frozen=True, eq=False)
class Diff:
    """What changed between a base and a fine-tune.

    Attributes
    ----------
    frame
        A row per tensor of either side. Columns: what the tensor is (`tensor, stack, layer, block,
        role, component, module, param, expert, status, form, shape, numel, base_dtype,
        tuned_dtype`, and `note`: what is odd about it, in words), the sums, and one column for
        each metric. A value that was not measured is missing, never 0: a tensor with NaN or Inf
        has counts, and no sums.
    about
        Sources, kind, coverage, what was left out and why, versions.
    """

    frame: pd.DataFrame
    about: dict[str, Any]

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], about: dict[str, Any]) -> Diff:
        """Make the frame, with every metric of sums, from rows of identity and sums."""
        return cls.of_frame(frames.frame_of(rows), about)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, about: dict[str, Any]) -> Diff:
        """Add every metric of sums to a frame of identity and sums."""
        frame = frames.measured(frame)
        return cls(_with_metrics(frame, frame, resolve(())), about)

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
        names = self.frame["tensor"]
        added = {
            metric: pd.array([values.get(name) for name in names], "Float64")
            for metric, values in columns.items()
        }
        about = {**self.about, "spectra": dict(spectra)} if spectra else self.about
        return Diff(self.frame.assign(**added), about)

    def by(
        self,
        *columns: str,
        metrics: Sequence[str] = ("relative_norm",),
        param: str | None = None,
    ) -> pd.DataFrame:
        """Regroup exactly, from sums: √Σ‖ΔW‖² / √Σ‖W‖², never the mean of ratios.

        A group's ratio is over its tensors that moved, so that an adapter, its merged checkpoint
        and a linked copy agree; `tensors`, `moved` and `params` count what there is. A tensor with
        NaN or Inf is left out; a group in which nothing else moved has no value.
        `energy_share` and `lift` are against everything that is on both sides. A metric that does
        not come from sums, as a spectral norm, is given where a group holds one tensor that moved.

        Parameters
        ----------
        *columns
            Columns of the frame: "layer", "component", "block", "stack", "expert", …; none gives
            one row for everything.
        metrics
            Names of metrics, as in `ftdiff metrics`.
        param
            Only these tensors ("weight", "bias"); all by default.

        Raises
        ------
        UnknownName
            A column or a metric does not exist.
        BadCall
            A metric was not measured.
        """
        chosen = resolve(metrics) if metrics else []
        known = [name for name in (*IDENTITY, *PARTS) if name in self.frame]
        for column in columns:
            if column not in self.frame:
                raise UnknownName(f"no column is called {column!r}; there are: {', '.join(known)}")
        frame = self.frame if param is None else self.frame[self.frame["param"] == param]
        summed = frames.group(frame[frame["status"].isin(PAIRED)], columns, MOVED)
        apart = [m for m in chosen if m.needs != "sums"]
        self._require([m.name for m in apart])
        moved = frame[frame["status"].isin(MOVED) & frame["delta_sq"].notna()]
        ways = {m.name: m.pool for m in apart if m.pool}
        summed = pools.with_pooled(summed, moved, columns, ways)
        alone = [m.name for m in apart if not m.pool]
        summed = pools.with_lone(summed, moved, columns, alone)
        return _with_metrics(summed, self.frame, chosen)[
            [*columns, *(m.name for m in chosen), "tensors", "moved", "params"]
        ]

    def expected(self, metric: str) -> pd.Series[float]:
        """Return what noise alone gives for a metric, tensor by tensor; NA where that is unknown.

        Raises
        ------
        UnknownName
            The metric does not exist.
        """
        noise = METRICS[metric].noise(_sums(self.frame, self.frame))
        return pd.Series(pd.array(noise, "Float64"), self.frame.index, name=metric)

    def table(
        self,
        metric: str = "relative_norm",
        *,
        rows: str = "layer",
        columns: str = "component",
        param: str | None = "weight",
    ) -> pd.DataFrame:
        """Return the matrix that a heatmap shows: one metric, rows × columns, missing where NA.

        Parameters
        ----------
        metric
            A metric's name.
        rows, columns
            Columns of the frame; layers ascend, components stand in the published order.
        param
            Only these tensors: weights by default (a bias may be far larger than its matrix);
            None for all.
        """
        long = self.by(rows, columns, metrics=(metric,), param=param).dropna(subset=[rows, columns])
        wide = long.pivot(index=rows, columns=columns, values=metric).sort_index()
        if columns == "component":
            wide = wide[component_order(wide.columns)]
        return wide.astype(float)

    def keeping(self, metrics: Sequence[str]) -> Diff:
        """Return the same with only these metrics as columns; the sums stay."""
        others = [name for name in METRICS if name in self.frame and name not in metrics]
        return Diff(self.frame.drop(columns=others), self.about)

    @property
    def overall(self) -> dict[str, float]:
        """Every metric of sums over all tensors that moved."""
        names = [m.name for m in resolve(())]
        row = self.by(metrics=names).iloc[0]
        return {name: float(row[name]) for name in names if not pd.isna(row[name])}

    def save(self, path: str | Path) -> Path:
        """Write JSON (whole, exact to the bit), CSV or Parquet (the frame), by the path's ending.

        Raises
        ------
        BadCall
            The ending is none of .json, .csv, .parquet.
        MissingExtra
            Parquet needs pyarrow.
        """
        return frames.save(self.frame, self.about, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Diff:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved diff.
        """
        saved, about = frames.load(Path(path))
        frame = frames.measured(saved)
        if frame is not saved:  # sums over the rest of what is not finite were kept once
            kept = [m for m in resolve(()) if m.name in saved]
            frame = _with_metrics(frame, frame, kept)
        return cls(frame, about)

    def _require(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.frame:
                raise BadCall(
                    f"{name} was not measured: compare with -m {name} (metrics=[{name!r}])"
                )

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what was compared, and a row per component."""
        wanted = ("relative_norm", "rotation", "precision_floor", "rms_change")
        shown = [name for name in wanted if name in self.frame]
        table = self.by("component", metrics=shown, param="weight").dropna(axis=1, how="all")
        order = {name: i for i, name in enumerate(component_order(table["component"].dropna()))}
        table = table.sort_values("component", key=lambda names: names.map(order))
        overall = [f"{name} {self.overall[name]:.4g}" for name in shown if name in self.overall]
        sentences = [f"overall: {', '.join(overall)}"] if overall else []
        return notebook.shown(repr(self), sentences, table.to_dict("records"))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        moved = int(self.frame["status"].isin(MOVED).sum())
        return (
            f"Diff({self.about.get('base')} → {self.about.get('tuned')}: "
            f"{moved} of {len(self.frame)} tensors moved)"
        )


def _with_metrics(
    frame: pd.DataFrame, whole: pd.DataFrame, metrics: Iterable[Metric]
) -> pd.DataFrame:
    sums = _sums(frame, whole)
    found = {m.name: pd.array(m(sums), "Float64") for m in metrics if m.needs == "sums"}
    return frame.assign(**found)


def _sums(frame: pd.DataFrame, whole: pd.DataFrame) -> Sums:
    paired = whole[whole["status"].isin(PAIRED)]
    totals = {
        "delta_sq": exact(paired["delta_sq"].dropna())[0],
        "numel": float(paired["numel"].sum()),
    }
    params = frame["params"] if "params" in frame else frame["numel"]
    held = {"params": params, **{c: frame[c] for c in ("numel", *COLUMNS)}}
    columns = {c: values.to_numpy(np.float64, na_value=np.nan) for c, values in held.items()}
    return Sums({**columns, **_sides(frame)}, totals)


def _sides(frame: pd.DataFrame) -> dict[str, Array]:
    """Return the sides of each tensor's matrix; of a stack of experts, those of one."""
    sides = np.full((2, len(frame)), np.nan)
    if "shape" in frame:
        for i, (name, shape) in enumerate(zip(frame["tensor"], frame["shape"], strict=True)):
            if shape is not None and len(shape) > 1:
                sides[:, i] = matrices(name, shape)[1:]
    return {"rows": sides[0], "columns": sides[1]}
