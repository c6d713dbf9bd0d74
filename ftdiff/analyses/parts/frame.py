"""From sums of parts to pieces of a table's columns, and to a `Diff` of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses.parts.sums import Lines
from ftdiff.comparison.frame import IDENTITY, of_rows, typed
from ftdiff.comparison.plan import Plan
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import CHANGED, IDENTICAL
from ftdiff.deltas.moments import COLUMNS
from ftdiff.tensors import Array, numel

#: Columns of a part of a frame, all of one length.
Piece: TypeAlias = Mapping[str, Sequence[Any] | Array]


def piece(
    plan: Plan, name: str, found: Lines, told: Mapping[str, Sequence[Any]], status: str = ""
) -> Piece:
    """Return the columns of a frame that has a row for each part of one tensor.

    Parameters
    ----------
    plan
        What the tensor is.
    name
        The tensor's.
    found
        The sums of its parts.
    told
        What tells the parts apart: by column, a value for each.
    status
        Of every part; "changed" or "identical" as its sums say, if not given.
    """
    size, sums = len(found), found.columns()
    columns: dict[str, Sequence[Any] | Array] = {
        word: [fact] * size for word, fact in plan.tensors[name].items()
    }
    columns |= {**sums, "shape": _shapes(plan.tensors[name]["shape"], sums["numel"])}
    columns["status"] = [status] * size if status else _statuses(found)
    return {**{word: [None] * size for word in IDENTITY}, **columns, **told}


def gathered(pieces: Sequence[Piece], about: dict[str, Any]) -> Diff:
    """Put pieces, which have the same columns, together and add the metrics."""
    if not pieces:
        return Diff.of_columns(of_rows([]), about)
    order = dict.fromkeys([*IDENTITY, *COLUMNS, *pieces[0]])
    columns = {word: _joined([one[word] for one in pieces]) for word in order}
    return Diff.of_columns(typed(columns), about)


def _joined(parts: Sequence[Sequence[Any] | Array]) -> Sequence[Any] | Array:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [value for part in parts for value in part]


def _shapes(shape: tuple[int, ...], sizes: Array) -> list[tuple[int, ...]]:
    return [shape if size == numel(shape) else (size,) for size in sizes.tolist()]


def _statuses(found: Lines) -> list[str]:
    moved = np.nan_to_num(found.column("unequal")) + np.nan_to_num(found.column("delta_sq"))
    moved += np.isnan(found.column("base_sq")) * np.nan_to_num(found.column("nonfinite_tuned"))
    return [CHANGED if m > 0 else IDENTICAL for m in moved.tolist()]
