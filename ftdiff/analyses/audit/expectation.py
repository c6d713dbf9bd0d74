"""What a policy expects: which tensors may move and how far, by globs over the frame's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

import pandas as pd

from ftdiff.analyses.finding import Finding, Severity, counted, listed
from ftdiff.comparison.frame import records
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED, PAIRED
from ftdiff.naming import PLACE

#: Columns of the frame that a glob may be held against.
WORDS = ("tensor", *PLACE, "status", "form", "base_dtype", "tuned_dtype")

# No layer, and no range of them, has so many digits.
_DIGITS = 40


@dataclass(frozen=True)
class Expectation:
    """One `[[expect]]` of a policy.

    Attributes
    ----------
    name
        What it is called in a finding.
    where
        Globs by column; layers and experts also by range, "0-13". A tensor has to match them all.
    moves
        True: every one of these tensors has to move; False: none may; None: each may.
    least, most
        Limits of metrics, tensor by tensor, of those that moved.
    severity
        Of a breach.
    """

    name: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    moves: bool | None = None
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    severity: Severity = "alarm"

    def chosen(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """Return which rows it is about."""
        found = frame["status"].isin(PAIRED)
        for column, globs in self.where.items():
            fits = _matcher(globs)
            known = {value: fits(str(value)) for value in frame[column].dropna().unique()}
            found &= frame[column].map(known).fillna(False).astype(bool)
        return found.astype(bool)

    def check(self, diff: Diff) -> Iterator[Finding]:
        """Yield what breaks it; a tensor that is nowhere breaks it too."""
        rows = diff.frame[self.chosen(diff.frame)]
        if not len(rows):
            where = ", ".join(
                f"{name} = {listed(list(globs))}" for name, globs in self.where.items()
            )
            yield self._broken(f"no tensor matches {where or 'it'}", rows, "caution")
            return
        moved = rows["status"].isin(MOVED)
        if self.moves is True and not moved.all():
            yield self._broken(_told(rows[~moved], "did not move, and should have"), rows[~moved])
        if self.moves is False and moved.any():
            yield self._broken(_told(rows[moved], "moved, and may not"), rows[moved])
        for metric, limit in self.most.items():
            yield from self._beyond(rows[moved], metric, limit, 1)
        for metric, limit in self.least.items():
            yield from self._beyond(rows[moved], metric, limit, -1)

    def _beyond(
        self, rows: pd.DataFrame, metric: str, limit: float, sign: int
    ) -> Iterator[Finding]:
        values = rows[metric].astype("Float64")
        over = rows[(sign * values > sign * limit).fillna(False)]
        if len(over):
            end = over[metric].max() if sign > 0 else over[metric].min()
            words = "above" if sign > 0 else "under"
            told = _told(over, f"with {metric} {words} {limit:g}, to {float(end):.4g}")
            yield self._broken(told, over, metric=metric, limit=limit, reached=float(end))

    def _broken(
        self, told: str, rows: pd.DataFrame, severity: Severity | None = None, **more: Any
    ) -> Finding:
        names = [str(name) for name in rows["tensor"]]
        cells = tuple(
            dict.fromkeys(
                (row["layer"], row["component"])
                for row in records(rows[["layer", "component"]])
                if row["layer"] is not None
            )
        )
        evidence = {"expectation": self.name, "tensors": names[:1000], **more}
        return Finding(
            "expectation", severity or self.severity, f"{self.name}: {told}.", evidence, cells
        )


def _told(rows: pd.DataFrame, what: str) -> str:
    return f"{counted(len(rows), 'tensor')} {what} ({listed([str(x) for x in rows['tensor']])})"


def _matcher(globs: tuple[str, ...]) -> Callable[[str], bool]:
    """Return what says whether a word fits one of these globs, or lies in one of these ranges."""
    spans = [span for glob in globs if (span := _span(glob))]
    pattern = re.compile("|".join(map(translate, globs)) if globs else r"\Z.")

    def fits(word: str) -> bool:
        if pattern.match(word):
            return True
        number = int(word) if word.isdecimal() and len(word) < _DIGITS else -1
        return any(number in span for span in spans)

    return fits


def _span(glob: str) -> range | None:
    """Return a range that is inclusive on both ends.

    >>> _span("0-13"), _span("q-k")
    (range(0, 14), None)
    """
    first, dash, last = glob.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and len(glob) < _DIGITS):
        return None
    return range(int(first), int(last) + 1)
