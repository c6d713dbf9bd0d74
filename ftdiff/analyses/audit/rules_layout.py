"""What two files store otherwise, so that it could not be compared."""

from __future__ import annotations

from collections.abc import Iterator

from ftdiff.analyses.audit.registry import audit_rule, finding
from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.comparison.alignment.fusion_notes import LAYOUT_UNKNOWN
from ftdiff.comparison.reasons import reasons
from ftdiff.comparison.result import Diff


@audit_rule("row-layout", "caution")
def row_layout(diff: Diff) -> Iterator[Finding]:
    """Rows of a fused tensor whose order nothing tells cannot be held against its parts."""
    for record in reasons(diff.about, LAYOUT_UNKNOWN):
        names = [str(name) for name in record.get("tensors", ())]
        message = (
            f"{counted(len(names), 'tensor')} of one side ({listed(names)}) hold what the other "
            "stores as several, and config.json does not tell in which order their rows lie "
            "(model_type, heads): they were not compared."
        )
        yield finding("row-layout", message, tensors=names)
