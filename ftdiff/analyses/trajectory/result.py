"""`Trajectory`: sums for every checkpoint and tensor, and what regroups them along the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.pairwise import COLUMNS
from ftdiff.analyses.trajectory import (
    append as adding,
)
from ftdiff.analyses.trajectory import (
    path as numbers,
)
from ftdiff.analyses.trajectory import (
    storage as files,
)
from ftdiff.comparison import storage
from ftdiff.comparison.frame import records
from ftdiff.comparison.notebook_html import shown
from ftdiff.errors import BadCall, unknown
from ftdiff.metrics import faint
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Trajectory:
    """How a change grew over n checkpoints of one run.

    Attributes
    ----------
    names, steps
        A short name for each checkpoint and its step, in the order of training.
    tensors
        A row for each of T tensors that a checkpoint changes: `tensor, stack, layer, sublayer,
        block, role, component, module, param, expert, shape, numel`.
    sums
        float64 arrays: `inner` (T × n × n, all ⟨ΔWₛ, ΔWₜ⟩; NaN where two were not read side by
        side, or one is not known), `sketch` (T × n × k, what estimates those), `base_sq` (T),
        `floor_sq` (T × n), and `metric.NAME` (T × n) of what else was measured.
    about
        Sources, the order and who says so, what was left out and why, versions.
    """

    names: tuple[str, ...]
    steps: tuple[int, ...]
    tensors: pd.DataFrame
    sums: Mapping[str, Array]
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per tensor and checkpoint: the tensor's place, `checkpoint`, `step`, numbers."""
        return self.by(*(str(name) for name in COLUMNS if name not in ("shape", "numel")))

    def by(self, *columns: str) -> pd.DataFrame:
        """Regroup exactly, from sums: a row per group and checkpoint.

        Parameters
        ----------
        *columns
            Columns of `tensors`: "layer", "component", …; none gives a row per checkpoint.

        Returns
        -------
        DataFrame
            `columns`, `checkpoint`, `step`, `tensors`, and the numbers of `path.path`; metrics of
            single tensors as the mean over the group's.
            A tensor that is not known at every checkpoint is in no group.

        Raises
        ------
        UnknownName
            There is no such column.
        """
        import pandas as pd

        for column in columns:
            if column not in COLUMNS:
                raise unknown("column", column, COLUMNS)
        parts = []
        for key, here in self._groups(columns):
            rows: dict[str, Any] = dict(zip(columns, key, strict=True))
            rows |= {"checkpoint": [*self.names], "step": [*self.steps], "tensors": len(here)}
            parts.append(pd.DataFrame(rows | numbers.path(self._summed(here)) | self._means(here)))
        if not parts:
            raise BadCall("no tensor is known at every checkpoint")
        found = pd.concat(parts, ignore_index=True)
        return found.astype({column: self.tensors[column].dtype for column in columns})

    def table(self, number: str = "relative_norm", **where: Any) -> pd.DataFrame:
        """Return layers × steps of one number.

        Parameters
        ----------
        number
            A column of `by`.
        **where
            Only tensors with these values: `component="attn.q"`, ….

        Raises
        ------
        UnknownName
            There is no such column or number.
        BadCall
            No layer has a tensor with these values.
        """
        columns = [*where, "layer"]
        found = self.by(*columns).dropna(subset=["layer"])
        for column, value in where.items():
            found = found[(found[column] == value).fillna(False)]
        if found.empty:
            told = ", ".join(f"{column}={value!r}" for column, value in where.items())
            raise BadCall(f"no layer has a tensor with {told or 'a known change'}")
        if number not in found:
            there = [str(name) for name in found if name not in columns]
            raise unknown("number", number, there)
        return found.pivot(index="layer", columns="step", values=number).astype(float)

    def growth(self, *columns: str) -> pd.DataFrame:
        """Return, for each group, β of ‖ΔW_t‖ ∝ t^β with its R², and what its path is like.

        Returns
        -------
        DataFrame
            `columns`, `tensors`, `exponent`, `r_squared`, `efficiency`, `efficiency_null`, and
            `dimension`: over how many directions the steps spread. Checkpoints that do not stand
            out of rounding are not in β's fit; what the path is like is missing under the floor.
        """
        import pandas as pd

        rows = []
        for key, here in self._groups(columns):
            sums = self._summed(here)
            path = numbers.path(sums)
            clear = np.where(faint(path["snr"]), np.nan, path["displacement"])
            beta, fit = numbers.growth(np.array(self.steps, float), clear)
            efficiency = path["efficiency"][-1]
            spread = np.nan if np.isnan(efficiency) else numbers.dimension(sums.inner)
            rows.append(
                {
                    **dict(zip(columns, key, strict=True)),
                    "tensors": len(here),
                    "exponent": beta,
                    "r_squared": fit,
                    "efficiency": efficiency,
                    "efficiency_null": path["efficiency_null"][-1],
                    "dimension": spread,
                }
            )
        return pd.DataFrame(rows)

    def followed_by(self, later: Trajectory) -> Trajectory:
        """Return this run with later checkpoints of it, whose files alone were read.

        Raises
        ------
        Mismatch
            The base or the tensors are others, or a step is not after all earlier ones.
        """
        return Trajectory(*adding.joined(self.parts, later.parts))

    def until(self, step: int) -> Trajectory | None:
        """Return the run up to a step, that one too; None where it has no checkpoint so early."""
        kept = sum(one <= step for one in self.steps)
        return Trajectory(*adding.cut(self.parts, kept)) if kept else None

    def findings(self) -> list[Finding]:
        """Say what it shows: a call of `ftdiff.findings`."""
        import ftdiff

        return ftdiff.findings(self)

    @property
    def parts(self) -> files.Parts:
        """What it is made of, as it is saved."""
        return files.Parts(self.names, self.steps, self.tensors, self.sums, self.about)

    def save(self, path: str | Path) -> Path:
        """Write JSON (whole, sketches too), CSV or Parquet (a row per tensor and checkpoint).

        Raises
        ------
        BadCall
            The ending is another.
        """
        whole = partial(files.document, self.parts)
        return storage.save(Path(path), files.FORM, whole, lambda: self.frame)

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved trajectory.
        """
        return cls(*storage.load(Path(path), files.FORM, files.parts))

    @property
    def known(self) -> Array:
        """bool, T: whether a tensor's change is known at every checkpoint."""
        own = np.einsum("tii->ti", self.sums["inner"])
        return np.asarray(np.isfinite(own).all(axis=1))

    def _groups(self, columns: Sequence[str]) -> list[tuple[tuple[Any, ...], Array]]:
        known = np.flatnonzero(self.known)
        if not columns:
            return [((), known)] if len(known) else []
        tensors = self.tensors.iloc[known]
        grouped = tensors.groupby([*columns], dropna=False, sort="tensor" not in columns).indices
        found: list[tuple[tuple[Any, ...], Array]] = []
        for key, here in grouped.items():
            found.append((key if isinstance(key, tuple) else (key,), known[np.asarray(here)]))
        return found

    def _summed(self, here: Array) -> numbers.Sums:
        inner = self.sums["inner"][here]
        own = np.einsum("tii->ti", inner)
        numel = self.tensors["numel"].to_numpy(np.float64)[here]
        sketch = self.sums["sketch"][here].transpose(1, 0, 2).reshape(len(self.names), -1)
        return numbers.Sums(
            inner.sum(axis=0),
            sketch,
            float(self.sums["base_sq"][here].sum()),
            self.sums["floor_sq"][here].sum(axis=0),
            np.einsum("ti,tj,t->ij", own, own, 1 / np.maximum(numel, 1)),
        )

    def _means(self, here: Array) -> dict[str, Array]:
        found = {}
        for name, values in self.sums.items():
            if name.startswith("metric."):
                known = np.isfinite(values[here])
                total = np.where(known, values[here], 0.0).sum(axis=0)
                count = known.sum(axis=0)
                found[name.removeprefix("metric.")] = np.where(
                    count > 0, total / np.maximum(count, 1), np.nan
                )
        return found

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what is to be said, and a row for each checkpoint."""
        left = ("tensors", "efficiency_null", "cosine_null", "step_snr", "estimated")
        rows = records(self.by().drop(columns=[*left])) if self.known.any() else []
        return shown(repr(self), [one.message for one in self.findings()], rows)

    def __repr__(self) -> str:
        return f"Trajectory({len(self.names)} checkpoints, {len(self.tensors)} tensors)"
