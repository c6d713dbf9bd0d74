"""What an adapter saves whole: weights that are no change, or none of this base's."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.comparison.reasons import SAVED, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED


@audit_rule("saved-module", "note")
def saved_module(diff: Diff) -> Iterator[Finding]:
    """A module that an adapter saves whole, and the base lacks, is compared with nothing."""
    rows = saved_modules(diff)
    if len(rows):
        be = "is" if len(rows) == 1 else "are"
        message = f"{tensors(rows, f'of modules_to_save {be} new to this base')}: saved whole."
        yield finding("saved-module", message, rows)


@audit_rule("saved-without-base", "note")
def saved_without_base(diff: Diff) -> Iterator[Finding]:
    """Weights that an adapter saves whole are a change against the base alone."""
    for one in reasons(diff.about, SAVED):
        names = [*map(str, one.get("tensors") or ())]
        what = f"{counted(len(names), 'saved tensor')} ({listed(names)})"
        be, their = ("is", "its") if len(names) == 1 else ("are", "their")
        message = f"{what} {be} left out: without a base {their} change is unknown."
        yield finding("saved-without-base", message, tensors=names)


def saved_modules(diff: Diff) -> pd.DataFrame:
    """Return what an adapter saves whole, as its configuration says, and the base lacks."""
    frame, about = diff.frame, diff.about
    named = about.get("adapter", {}).get("modules_to_save")
    if not is_adapter(diff) or not about.get("base") or not isinstance(named, list):
        return frame.iloc[:0]
    rows = frame[(frame["status"] == ADDED) & frame["tuned_dtype"].notna()]
    saved = rows["tensor"].map(lambda key: any(f".{name}." in f".{key}." for name in named))
    return rows[saved.astype(bool)]
