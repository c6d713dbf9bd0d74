"""Which metric of a diff is shown: the one that is wanted, or one that has values."""

from __future__ import annotations

from ftdiff.comparison.frame import there
from ftdiff.comparison.result import Diff
from ftdiff.metrics import METRICS

#: What a picture is of where nobody says it; of an adapter without its base the second.
USUAL, ABSOLUTE = "relative_norm", "rms_change"


def shown_metrics(diff: Diff) -> list[str]:
    """Return the metrics that the frame holds and that some tensor has, in its order."""
    columns = diff.columns
    return [name for name in columns if name in METRICS and there(columns[name]).any()]


def shown_metric(diff: Diff, wanted: str = USUAL) -> str:
    """Return the metric to show: the wanted one, or where it has no value the first that has.

    Raises
    ------
    UnknownName
        There is no metric of that name.
    """
    there = shown_metrics(diff)
    choice = [METRICS[wanted].name, ABSOLUTE, *there]
    return next((name for name in choice if name in there), wanted)
