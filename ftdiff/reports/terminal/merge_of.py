"""What `ftdiff merge-of` prints: which merge it is, and its coefficients layer by layer."""

from __future__ import annotations

import pandas as pd

from ftdiff.analyses.merges import MergeOf
from ftdiff.reports.terminal.tables import ROWS, new_console, write_table
from ftdiff.reports.terminal.verdict import show_verdict, show_whole

#: What is left out of the parts of a profile that say one number.
_SPREAD = 0.002


def show_merge(found: MergeOf, format_: str = "table") -> None:
    """Print the verdict, and the coefficients by layer where they are not one; or JSON or CSV."""
    if format_ != "table":
        show_whole(found, format_)
        return
    show_verdict(found.verdict, found.sentences)
    profile = found.profile
    if found.verdict in ("exactly", "changed", "partly") and _varies(profile):
        step = -(-len(profile) // (2 * ROWS))
        rows = [{"layer": int(str(layer)), **row} for layer, row in profile.iloc[::step].iterrows()]
        write_table(new_console(), "coefficients by layer", rows)


def _varies(profile: pd.DataFrame) -> bool:
    return bool(len(profile) > 1 and ((profile.max() - profile.min()) > _SPREAD).any())
