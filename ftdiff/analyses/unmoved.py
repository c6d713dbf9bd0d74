"""What is said in the place of a map of layers in which no weight moved: what did beside it."""

from __future__ import annotations

import numpy as np

from ftdiff.analyses.finding import counted, listed
from ftdiff.comparison.aggregation import that_moved
from ftdiff.comparison.frame import Columns, length, rows_at
from ftdiff.comparison.reasons import LAYERS, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import UNREADABLE


def unmoved(diff: Diff, weights: int, stack: str | None = None) -> str:
    """Say what moved, in the place of a map in which nothing did.

    Parameters
    ----------
    diff
        What was compared.
    weights
        How many weights the map is of.
    stack
        The tower that the map is of, where there are several: each says what moved in it.
    """
    columns = diff.columns
    mine = np.ones(length(columns), bool) if stack is None else columns["stack"] == stack
    lone = weights == 1
    of = "its weight is" if lone else f"all {weights:,} weights are"
    where = "" if stack is None else stack
    elsewhere = any("home" in one and one["stack"] == where for one in reasons(diff.about, LAYERS))
    whose = "the base's, of layers that stand elsewhere there" if elsewhere else "the base's"
    moved = rows_at(columns, that_moved(columns) & mine)
    lost = rows_at(columns, (columns["status"] == UNREADABLE) & mine)
    parts = [_named(moved, "did")] if length(moved) else []
    parts += [_named(lost, "could not be read")] if length(lost) else []
    if parts:
        none = f"none of {weights:,} matrices in layers moved"
        none = "the one matrix in a layer did not move" if lone else none
        return f"{none}; beside {'it' if lone else 'them'}, {' and '.join(parts)}"
    return f"{'no weight changed' if elsewhere else 'nothing moved'}: {of} {whose}"


def _named(rows: Columns, what: str) -> str:
    names = dict.fromkeys(
        str(component or name)
        for component, name in zip(rows["component"], rows["tensor"], strict=True)
    )
    return f"{counted(length(rows), 'tensor')} {what}: {listed([*names], 4)}"
