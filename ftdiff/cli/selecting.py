"""The options that say which tensors are wanted, decided into one `Selection`."""

from __future__ import annotations

from typing import Any

import click

from ftdiff.cli import words
from ftdiff.cli.options import Decorator, decided
from ftdiff.comparison.selection import Selection
from ftdiff.errors import BadCall

SELECTED: Decorator = decided(
    Selection,
    "selection",
    click.option(
        "--include",
        multiple=True,
        type=words.GLOB,
        metavar="GLOB",
        help="Only tensors that this fits (repeat): a name or parts of it, a component, a stack; "
        "q_proj, 'attn.*', '*.bias'.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        type=words.GLOB,
        metavar="GLOB",
        help="None that this fits (repeat).",
    ),
    click.option(
        "--layers", default="", metavar="RANGE", help="Only these layers: 0-7, or 0-3,28-."
    ),
    click.option(
        "--top",
        type=click.IntRange(1),
        metavar="N",
        help="Of these, only the N tensors in which the metric is largest.",
    ),
)


def taken(data: Any, selection: Selection, metric: str | None, source: object) -> Any:
    """Return what is wanted of a saved diff or of a matrix.

    Raises
    ------
    BadCall
        It is another result, or nothing is left.
    """
    if not selection:
        return data
    from ftdiff.comparison import selected
    from ftdiff.comparison.result import Diff

    if isinstance(data, Diff):
        return selected.of_diff(data, selection, metric or "relative_norm")
    if not _is_matrix(data):
        what = type(data).__name__.lower()
        raise BadCall(f"{source}: a saved {what}; {selection.words} is of a diff's tensors")
    return selected.of_matrix(data, selection)


def _is_matrix(data: Any) -> bool:
    import pandas as pd

    return isinstance(data, pd.DataFrame)
