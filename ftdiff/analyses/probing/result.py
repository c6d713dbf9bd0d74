"""`Probe`: how well a label is read in each cell, beside what chance gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.analyses import judgement
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import records
from ftdiff.comparison.saved_numbers import is_count
from ftdiff.errors import BadCall, unknown
from ftdiff.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

#: A cell is told from chance where its family-wise p is below.
CHANCE = 0.05

_PLACE = {"site": "string", "stack": "string", "layer": "Int64", "position": "string", "n": "Int64"}
COLUMNS: Mapping[str, str] = {
    "model": "string", **_PLACE, "auroc": "Float64", "auroc_low": "Float64",
    "auroc_high": "Float64", "p": "Float64", "p_family": "Float64", "chance": "boolean",
}  # fmt: skip
DIFFERENCES: Mapping[str, str] = {
    **_PLACE, **dict.fromkeys(("difference", "low", "high", "p", "p_family"), "Float64"),
}  # fmt: skip
#: What is counted of each position.
_COUNTS = ("present", "absent")


@dataclass(frozen=True, eq=False)
class Probe(SavedResult):
    """Where a label can be read from a model's states.

    Attributes
    ----------
    frame
        A row per model ("model", "tuned"), site, layer and position: `n` rows that have the
        position, `auroc` with an interval, one-sided `p` and `p_family` from permuted labels, and
        `chance`, whether it cannot be told from chance, all cells of the model considered.
        Missing where a class has fewer than 20 rows.
    differences
        Where there is a fine-tune, a row per site, layer and position: `difference` (tuned minus
        model) with an interval, two-sided `p`, and `p_family` over all cells.
    about
        Data with its hash and counts, in how many rows each position is absent, protocol, seed,
        device, dtype, versions, sources, notes.
    """

    form: ClassVar = storage.Form("probe")

    frame: pd.DataFrame
    differences: pd.DataFrame
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_rows(
        cls,
        rows: Sequence[Mapping[str, Any]],
        differences: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> Probe:
        """Make one of a record for each cell, and for each difference."""
        cells = judgement.typed(rows, COLUMNS)
        return cls(cells, judgement.typed(differences, DIFFERENCES), dict(about))

    @property
    def sites(self) -> tuple[tuple[str, str], ...]:
        """Each site with its stack."""
        pairs = self.frame[["site", "stack"]].drop_duplicates()
        return tuple((str(site), str(stack)) for site, stack in pairs.itertuples(index=False))

    def table(
        self,
        number: str = "auroc",
        *,
        site: str | None = None,
        stack: str | None = None,
        model: str = "model",
    ) -> pd.DataFrame:
        """Return layers × positions of one number, positions in the order of the frame.

        Parameters
        ----------
        number
            A column of `frame`; "difference" for that of the fine-tune.
        site, stack
            Which, where there are several; the first by default.
        model
            "model" or "tuned".

        Raises
        ------
        UnknownName
            There is no such number, site or model.
        BadCall
            There is no fine-tune.
        """
        rows = self.frame[self.frame["model"] == model]
        if number == "difference":
            rows = self.differences
        elif number not in self.frame or (number in ("model", *_PLACE) and number != "n"):
            raise unknown("number", number, COLUMNS)
        if rows.empty:
            if model not in ("model", "tuned"):
                Registry("model", dict.fromkeys(("model", "tuned")))[model]
            raise BadCall("no fine-tune was probed: give TUNED")
        first = self.sites[0]
        site = first[0] if site is None else site
        Registry("site", dict.fromkeys(name for name, _ in self.sites))[site]
        stack = next(s for name, s in self.sites if name == site) if stack is None else stack
        rows = rows[(rows["site"] == site) & (rows["stack"] == stack)]
        order = [*dict.fromkeys(rows["position"])]
        wide = rows.pivot(index="layer", columns="position", values=number)[order]
        wide.index, wide.columns.name = wide.index.astype(int), None
        return wide.fillna(False).astype(bool) if number == "chance" else wide.astype(float)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        held = {"cells": records(self.frame), "differences": records(self.differences)}
        return {"about": self.about, **held}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Probe:
        """Return the result that a document holds."""
        about = stored["about"]
        if not isinstance(about["positions"], dict):
            raise TypeError("about")
        if not isinstance(about["model"], str) or not isinstance(about["tuned"], str | None):
            raise TypeError("model")
        if not all(isinstance(about.get(name, {}), dict) for name in ("sources", "versions")):
            raise TypeError("sources")
        counts = [about["data"]["rows"], about.get("arrangements", 0)]
        counts += [one[name] for one in about["positions"].values() for name in _COUNTS]
        if not all(map(is_count, counts)):
            raise TypeError("a count is none")
        cells = judgement.frame_of(stored["cells"], COLUMNS)
        differences = judgement.frame_of(stored["differences"], DIFFERENCES)
        places = ["site", "layer", "position"]
        if cells.empty or any(rows[places].isna().any(axis=None) for rows in (cells, differences)):
            raise ValueError("cells")
        _judged(cells, ["auroc", "auroc_low", "auroc_high", "p", "chance"])
        _judged(differences, ["difference", "low", "high", "p"])
        return cls(cells, differences, about)

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what is to be said, and the best cells."""
        best = self.frame.sort_values("auroc", ascending=False, kind="stable").head(10)
        said = [one.message for one in self.findings()]
        return notebook.shown(repr(self), said, records(best))

    def __repr__(self) -> str:
        rows, sides = self.about["data"]["rows"], self.frame["model"].nunique()
        return f"Probe({len(self.frame) // max(sides, 1)} cells, {rows} rows, {sides} models)"


def _judged(rows: pd.DataFrame, numbers: list[str]) -> None:
    """Refuse rows that have a p of something that is not there."""
    if rows.loc[rows["p_family"].notna(), numbers].isna().any(axis=None):
        raise ValueError("p_family")
