"""`Diff`: one tidy frame, a row per tensor, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ftdiff import frames
from ftdiff.address import component_order
from ftdiff.errors import UnknownName
from ftdiff.frames import IDENTITY
from ftdiff.metrics import METRICS, Sums, resolve
from ftdiff.moments import COLUMNS, exact

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
        tuned_dtype`), the sums, and one column for each metric. A value that was not measured is
        missing, never 0.
    about
        Sources, kind, coverage, what was left out and why, versions.
    """

    frame: pd.DataFrame
    about: dict[str, Any]

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], about: dict[str, Any]) -> Diff:
        """Make the frame, with every metric, from rows of identity and sums."""
        frame = frames.frame_of(rows)
        return cls(_with_metrics(frame, frame, METRICS), about)

    def by(
        self,
        *columns: str,
        metrics: Sequence[str] = ("relative_norm",),
        param: str | None = None,
    ) -> pd.DataFrame:
        """Regroup exactly, from sums: √Σ‖ΔW‖² / √Σ‖W‖², never the mean of ratios.

        A group's ratio is over its tensors that moved, so that an adapter, its merged checkpoint
        and a linked copy agree; `tensors`, `moved` and `params` count what there is.
        `energy_share` and `lift` are against everything that is on both sides.

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
        """
        chosen = resolve(metrics) if metrics else []
        for column in columns:
            if column not in self.frame:
                raise UnknownName(
                    f"no column is called {column!r}; there are: {', '.join(IDENTITY)}"
                )
        frame = self.frame if param is None else self.frame[self.frame["param"] == param]
        summed = frames.group(frame[frame["status"].isin(PAIRED)], columns, MOVED)
        return _with_metrics(summed, self.frame, [m.name for m in chosen])[
            [*columns, *(m.name for m in chosen), "tensors", "moved", "params"]
        ]

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
        """Every metric over all tensors that moved."""
        row = self.by(metrics=tuple(METRICS)).iloc[0]
        return {name: float(row[name]) for name in METRICS if not pd.isna(row[name])}

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
        return cls(*frames.load(Path(path)))

    def __repr__(self) -> str:
        moved = int(self.frame["status"].isin(MOVED).sum())
        return (
            f"Diff({self.about.get('base')} → {self.about.get('tuned')}: "
            f"{moved} of {len(self.frame)} tensors moved)"
        )


def _with_metrics(frame: pd.DataFrame, whole: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    paired = whole[whole["status"].isin(PAIRED)]
    totals = {
        "delta_sq": exact(paired["delta_sq"].dropna())[0],
        "numel": float(paired["numel"].sum()),
    }
    params = frame["params"] if "params" in frame else frame["numel"]
    held = {"params": params, **{c: frame[c] for c in ("numel", *COLUMNS)}}
    columns = {c: values.to_numpy(np.float64, na_value=np.nan) for c, values in held.items()}
    sums = Sums(columns, totals)
    computed = {name: pd.array(METRICS[name](sums), "Float64") for name in names}
    return frame.assign(**computed)
