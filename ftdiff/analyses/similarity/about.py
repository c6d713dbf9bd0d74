"""What cosines were made from: plain values only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftdiff.analyses.pairwise import Lineup, Together, noted, trouble
from ftdiff.comparison.provenance import made_of


def about(lineup: Lineup, found: Sequence[Together]) -> dict[str, Any]:
    """Return sources and kinds, what was left out and why, and versions.

    Parameters
    ----------
    lineup
        The fine-tunes.
    found
        What was measured, by line.
    """
    return {"base": lineup.base, **trouble(lineup, found), "noted": noted(lineup), **of_all(lineup)}


def of_all(lineup: Lineup) -> dict[str, Any]:
    """Return what is known of the files alone."""
    return {
        "tuned": {
            name: {"source": one.source, "kind": one.kind}
            for name, one in zip(lineup.names, lineup.tuned, strict=True)
        },
        **made_of(base=[lineup.opened], tuned=lineup.tuned),
    }
