"""What a report says (`document`), and how it looks: in the terminal, as a page.

To add a format of a card's section: a writer in `markup.py`, and its line in WRITERS.
What a command prints is in `terminal/<command>.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["save", "small_map"]


def save(result: Any, path: str | Path, metric: str | None = None) -> Path:
    """Write the page of a result, one file that needs no network; see `ftdiff.reports.html.save`.

    Parameters
    ----------
    result
        A diff, similarity, trajectory, probe, drift, merge or importance.
    path
        Where to.
    metric
        The metric that is shown first.
    """
    from ftdiff.reports import html

    return html.save(result, Path(path), metric)


def small_map(diff: Any, metric: str | None = None, *, html: bool = False) -> str:
    """Say what was compared, in a line and with the map of the stack that moved most.

    Parameters
    ----------
    diff
        A diff; of one without layers there is no map.
    metric
        What the map shows; by default the relative norm, without a base the RMS of the change.
    html
        For a notebook, with a row per component, rather than in lines of characters.
    """
    from ftdiff.reports import glance

    return glance.html(diff, metric) if html else glance.text(diff, metric)
