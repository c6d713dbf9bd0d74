"""`Similarity`: sums for every pair and tensor, and what regroups them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.pairwise import COLUMNS
from ftdiff.analyses.similarity import (
    clusters as grouping,
)
from ftdiff.analyses.similarity import (
    merge_forecast as forecasts,
)
from ftdiff.analyses.similarity import (
    storage as files,
)
from ftdiff.analyses.similarity.formulas import FORMULAS
from ftdiff.comparison import storage
from ftdiff.comparison.frame import records
from ftdiff.comparison.notebook_html import shown
from ftdiff.errors import BadCall, unknown
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike n fine-tunes of one base are.

    Attributes
    ----------
    names
        A short name for each, all different.
    tensors
        A row for each of T tensors that one of them changes: `tensor, stack, layer, sublayer,
        block, role, component, module, param, expert, shape, numel`.
    sums
        float64 arrays: `inner` (T × n × n, all ⟨ΔWᵢ, ΔWⱼ⟩; NaN where one is not known),
        `floor_sq` (T × n, the squared rounding error of the storage dtype), `base_rounding_sq`
        (T × n, that of the base rounded to it; may be missing), `unrounded` and
        `unrounded_error_sq` (T × n × n, inner products before rounding and the variance of that
        estimate, where a whole checkpoint is among them; may be missing), and what further
        measures asked for.
    about
        Sources, kinds, what was left out and why, versions.
    """

    names: tuple[str, ...]
    tensors: pd.DataFrame
    sums: Mapping[str, Array]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured: names of `FORMULAS`."""
        return tuple(
            name
            for name in FORMULAS
            if name == "cosine" or any(key.startswith(f"{name}.") for key in self.sums)
        )

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """Cosines of ΔW over all tensors, n × n; NaN where one did not change."""
        return self.table()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per tensor and pair: the tensor's place, `a`, `b`, every number and its null."""
        return self.by(*(name for name in COLUMNS if name not in ("shape", "numel")))

    def table(self, number: str = "cosine", **where: Any) -> pd.DataFrame:
        """Return one number of all pairs, n × n.

        Parameters
        ----------
        number
            "cosine", or another column of `by`.
        **where
            Only tensors with these values: `component="attn.q"`, `layer=3`, ….

        Raises
        ------
        UnknownName
            There is no such column or number.
        BadCall
            No tensor has these values.
        """
        import pandas as pd

        kept = np.ones(len(self.tensors), bool)
        for column, value in where.items():
            self._known(column)
            kept &= (self.tensors[column] == value).fillna(False).to_numpy(bool)
        if not kept.any():
            raise BadCall(f"no tensor has {', '.join(f'{k}={v!r}' for k, v in where.items())}")
        numbers = self._numbers(np.flatnonzero(kept))
        if number not in numbers:
            raise unknown("number", number, numbers)
        return pd.DataFrame(numbers[number], [*self.names], [*self.names])

    def by(self, *columns: str) -> pd.DataFrame:
        """Regroup exactly, from sums: a row per group and pair.

        Parameters
        ----------
        *columns
            Columns of `tensors`: "layer", "component", …; none gives one row for each pair.

        Returns
        -------
        DataFrame
            `columns`, `a`, `b` (a before b in `names`), `tensors`, then every number.
        """
        import pandas as pd

        for column in columns:
            self._known(column)
        first, second = np.triu_indices(len(self.names), 1)
        names = np.array(self.names, object)
        parts = []
        for key, here in self._groups(columns):
            rows: dict[str, Any] = dict(zip(columns, key, strict=True))
            rows |= {"a": names[first], "b": names[second], "tensors": len(here)}
            numbers = self._numbers(here)
            parts.append(
                pd.DataFrame(
                    rows | {name: values[first, second] for name, values in numbers.items()},
                    index=range(len(first)),
                )
            )
        found = pd.concat(parts, ignore_index=True)
        return found.astype({column: self.tensors[column].dtype for column in columns})

    def _groups(self, columns: Sequence[str]) -> list[tuple[tuple[Any, ...], Array]]:
        if not columns:
            return [((), np.arange(len(self.tensors)))]
        if "tensor" in columns:
            rows = self.tensors[[*columns]].itertuples(index=False, name=None)
            return [(row, np.array([i])) for i, row in enumerate(rows)]
        grouped = self.tensors.groupby([*columns], dropna=False, sort=True).indices
        return [
            (key if isinstance(key, tuple) else (key,), np.asarray(here))
            for key, here in grouped.items()
        ]

    def _numbers(self, here: Array) -> dict[str, Array]:
        numel = self.tensors["numel"].to_numpy(np.float64)[here]
        sums = {name: array[here] for name, array in self.sums.items()} | {"numel": numel}
        found: dict[str, Array] = {}
        for measure in self.measures:
            found |= FORMULAS[measure](sums)
        return found

    def _known(self, column: str) -> None:
        if column not in self.tensors:
            raise unknown("column", column, COLUMNS)

    @cached_property
    def groups(self) -> grouping.Groups:
        """An order in which alike fine-tunes are neighbours, and groups with their criterion."""
        return grouping.groups(self.names, self.matrix.to_numpy())

    @property
    def duplicates(self) -> pd.DataFrame:
        """Pairs that are one change, maybe at another scale: |cosine| above 0.999.

        Two that are alike by the base's own rounding are none, unless all their entries are equal.
        """
        found = self.by()
        same = found["cosine"].abs() > grouping.SAME
        return found[same & ~grouping.alike_by_rounding(found)].reset_index(drop=True)

    @property
    def neighbours(self) -> pd.DataFrame:
        """For each fine-tune the most similar other one, its cosine, and that over its null."""
        return grouping.neighbours(self.names, self._numbers(np.arange(len(self.tensors))))

    def forecast(self, drop: float = 0.9) -> pd.DataFrame:
        """Say what merging all of them would keep of each.

        Parameters
        ----------
        drop
            The share of entries that DARE drops.

        Returns
        -------
        DataFrame
            A row per method (average, sum, dare; ties where signs were measured) and fine-tune;
            see `ftdiff.analyses.similarity.merge_forecast`.
        """
        return forecasts.forecast(self.names, self.sums, drop)

    def findings(self) -> list[Finding]:
        """Say what it shows: a call of `ftdiff.findings`."""
        import ftdiff

        return ftdiff.findings(self)

    @property
    def parts(self) -> files.Parts:
        """What it is made of, as it is saved."""
        return files.Parts(self.names, self.tensors, self.sums, self.about)

    def save(self, path: str | Path) -> Path:
        """Write JSON (whole), CSV or Parquet (a row per tensor and pair), by the path's ending.

        Raises
        ------
        BadCall
            The ending is another.
        """
        whole = partial(files.document, self.parts)
        return storage.save(Path(path), files.FORM, whole, lambda: self.frame)

    @classmethod
    def load(cls, path: str | Path) -> Similarity:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved similarity.
        """
        return cls(*storage.load(Path(path), files.FORM, files.parts))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what is to be said, and the nearest of each."""
        return shown(repr(self), [one.message for one in self.findings()], records(self.neighbours))

    def __repr__(self) -> str:
        return f"Similarity({', '.join(self.names)}: {len(self.tensors)} tensors)"
