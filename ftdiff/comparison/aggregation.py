"""Exact grouping: what a group of tensors has of sums, and of metrics that do not add up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ftdiff.comparison.frame import Columns, among, broken, floats, there, typed
from ftdiff.comparison.grouping import Grouping, Key, grouped
from ftdiff.comparison.statuses import MOVED, RESHAPED
from ftdiff.deltas.moments import COLUMNS, COUNTS, MAXIMA, TURNED
from ftdiff.deltas.rescaling import turned_sq
from ftdiff.errors import BadCall
from ftdiff.tensors import Array

#: What a group's number may be over.
Over: TypeAlias = Literal["all", "moved"]
OVERS = get_args(Over)


def groups(columns: Columns, keys: Sequence[str]) -> tuple[list[Key], Grouping]:
    """Return the key of each group and its rows, ascending by key, missing values last.

    Sublayers ascend as numbers do.
    """
    return grouped(columns, keys, lambda name: natural if name == "sublayer" else None)


def natural(sublayer: str) -> tuple[tuple[bool, int | str], ...]:
    """Return what sorts sublayers as numbers: "2" before "10", "1" before "1.0".

    >>> sorted(["10", "2", "2.0"], key=natural)
    ['2', '2.0', '10']
    """
    words = sublayer.split(".")
    numbers = [word.isascii() and word.isdecimal() and len(word) < 10 for word in words]
    return tuple(
        (False, int(word)) if number else (True, word)
        for word, number in zip(words, numbers, strict=True)
    )


def that_moved(columns: Columns) -> Array:
    """Say which tensors moved: rows that were only added, or a shape that nothing fits, do not."""
    still = (columns["status"] == RESHAPED) & ~(floats(columns["delta_sq"]) > 0)
    moved: Array = among(columns["status"], MOVED) & ~still
    return moved


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of tensors, and those of each that its number is over.

    Attributes
    ----------
    keys
        By group, its value of each column.
    rows
        All tensors.
    counted
        Those that the numbers are over.
    of
        By group, what these are: "matrices", "vectors", or "tensors" of both kinds.
    """

    keys: Sequence[Key]
    rows: Grouping
    counted: Grouping
    of: Sequence[str]


def chosen(
    columns: Columns, keys: Sequence[str], over: Over = "all", vectors: bool = False
) -> Groups:
    """Return groups of paired tensors, and which of each a number is over.

    Parameters
    ----------
    columns
        Tensors that are on both sides.
    keys
        What they are grouped by.
    over
        "all": every tensor whose change is known, moved or not (of an adapter, what it targets);
        "moved": those in which an entry differs, or where none moved, those that did not.
    vectors
        Whether norms and biases count beside matrices and kernels. If not, a group in which no
        matrix moved and vectors did, or that has no matrix, is of its vectors.

    Raises
    ------
    BadCall
        `over` is neither.
    """
    if over not in OVERS:
        raise BadCall(f"over={over!r}: it is 'all' or 'moved'")
    moved, known = that_moved(columns), there(columns["delta_sq"])
    lost = moved & broken(columns)
    names, rows = groups(columns, keys)
    pool, of = rows, ["tensors"] * len(rows)
    if not vectors:
        sides = [len(shape or ()) > 1 for shape in columns["shape"]]
        matrix = np.array(sides, bool)
        others = (rows.count(moved & ~matrix) > 0) & (rows.count(moved & matrix) == 0)
        only = others | (rows.count(matrix) == 0)
        pool = rows.only(matrix[rows.rows] != rows.each(only))
        of = ["vectors" if vector else "matrices" for vector in only.tolist()]
    moving = pool.count(moved & known) > 0
    none = ~moving & (pool.count(lost) > 0)
    counted = known[pool.rows] & ~pool.each(none)
    if over == "moved":
        counted &= moved[pool.rows] | ~pool.each(moving)
    return Groups(names, rows, pool.only(counted), of)


def summed(columns: Columns, keys: Sequence[str], chosen: Groups) -> dict[str, Array]:
    """Add up the sums of each group exactly.

    A tensor with entries that are not finite is left out; a group in which nothing else moved has
    no sums. `numel` and `counted` are the entries and the number of the tensors that the sums are
    over, and `of` what these are; `params`, `tensors`, `moved` and `energy`, the squared change,
    are of all in the group.
    """
    known = there(columns["delta_sq"])
    sizes = columns["numel"]
    found: dict[str, Any] = {name: [key[i] for key in chosen.keys] for i, name in enumerate(keys)}
    found |= {name: _totals(columns[name], chosen.counted, name) for name in COLUMNS}
    found[TURNED] = _turned(columns, chosen.counted)
    energy = chosen.rows.where(known).totals(floats(columns["delta_sq"]))
    found |= {
        "numel": _entries(sizes, chosen.counted),
        "counted": chosen.counted.sizes,
        "params": _entries(sizes, chosen.rows),
        "tensors": chosen.rows.sizes,
        "moved": chosen.rows.count(that_moved(columns)),
        "energy": np.where(chosen.counted.sizes > 0, energy, np.nan),
        "of": chosen.of,
    }
    return typed(found)


def _turned(columns: Columns, held: Grouping) -> Array:
    """Return ‖W₁ − c* W‖² of several tensors; missing where no tensor had a second pass."""
    parts = {name: floats(columns[name]) for name in ("base_sq", "inner", "delta_sq", TURNED)}
    whole = np.logical_and.reduce([there(parts[name]) for name in parts if name != TURNED])
    found = np.full(len(held), np.nan)
    there_is = (held.count(there(parts[TURNED])) > 0) & (held.count(~whole) == 0)
    here = [held.lists(values, np.flatnonzero(there_is)) for values in parts.values()]
    for (i, base_sq), (_, inner), (_, delta_sq), (_, turned) in zip(*here, strict=True):
        left = [None if value != value else value for value in turned]
        found[i] = turned_sq(base_sq, inner, delta_sq, left)
    return found


def _totals(values: Array, held: Grouping, name: str) -> Array | list[int | None]:
    """Add a column up, to the same bits in any order; missing where a part of it is missing."""
    whole = (held.sizes > 0) & (held.count(~there(values)) == 0)
    if name in COUNTS:
        return _whole_numbers(values, held, whole)
    if name in MAXIMA:
        found = np.full(len(held), np.nan)
        numbers = floats(values)[held.rows]
        if len(numbers):
            some = held.sizes > 0
            found[some] = np.maximum.reduceat(numbers, held.ends[:-1][some])
    else:
        found = held.totals(floats(values))
    return np.where(whole, found, np.nan)


def _whole_numbers(values: Array, held: Grouping, whole: Array) -> list[int | None]:
    found: list[int | None] = [None] * len(held)
    for i, some in held.lists(values, np.flatnonzero(whole)):
        found[i] = some[0] if len(some) == 1 else sum(some)
    return found


def _entries(sizes: Array, held: Grouping) -> list[int]:
    """Return how many entries the tensors of each group have; what is unknown has none."""
    numbers = np.array([size or 0 for size in sizes], object)
    return [sum(some) for _, some in held.lists(numbers, np.arange(len(held)))]


def apart(columns: Columns, chosen: Groups, pools: Mapping[str, str]) -> dict[str, Array]:
    """Return columns that do not add up.

    Parameters
    ----------
    columns, chosen
        Tensors and the groups of them.
    pools
        By metric, how a group has it from its tensors (see `ftdiff.metrics.Metric`): of what did
        not move, none changed. Where no mean is right, a group has the value of its one moved
        tensor, or none.
    """
    moved = that_moved(columns)
    added = {name: _added(columns[name], chosen) for name, pool in pools.items() if pool == "sum"}
    pools = {name: pool for name, pool in pools.items() if pool != "sum"}
    counted = chosen.counted
    groups = counted.only(counted.each(counted.count(moved) > 0))
    alone = groups.where(moved)
    still = {**columns, **{name: np.where(moved, columns[name], 0.0) for name in pools}}
    return typed(
        {
            name: [_pooled(still, rows, name, pool) for rows in (groups if pool else alone)]
            for name, pool in pools.items()
        }
        | added
    )


def _added(values: Array, chosen: Groups) -> list[float | None]:
    """Add a column up over all tensors of each group that have it; missing where none has."""
    known = there(values)
    held = chosen.rows.where(known).lists(floats(values), np.arange(len(chosen.rows)))
    return [math.fsum(some) if some else None for _, some in held]


def _pooled(columns: Columns, rows: Array, name: str, pool: str) -> float | None:
    """Return the mean over tensors; missing where one of them has no value."""
    values = columns[name][rows]
    if not pool:
        return float(values[0]) if len(values) == 1 else None
    if not len(values) or not there(values).all():
        return None
    if pool == "quotient":
        return _quotient(values, columns["delta_abs"][rows], columns["base_abs"][rows])
    power, weight = (2, "delta_sq") if pool == "energy" else (1, "numel")
    pairs = list(zip(values, floats(columns[weight][rows]), strict=True))
    whole = math.fsum(w for _, w in pairs)
    return (math.fsum(v**power * w for v, w in pairs) / whole) ** (1 / power) if whole else None


def _quotient(values: Array, delta_abs: Array, base_abs: Array) -> float | None:
    """Return ΣΣ|ΔW| / Σx of quotients Σ|ΔW|/x, x = Σ|W| + Σ|W₁|: 2Σ|W| where nothing moved."""
    if not (there(delta_abs).all() and there(base_abs).all()):
        return None
    parts = zip(delta_abs, base_abs, values, strict=True)
    pairs = [(moved, moved / value if value else 2 * base) for moved, base, value in parts]
    whole = math.fsum(x for _, x in pairs)
    return math.fsum(moved for moved, _ in pairs) / whole if whole else 0.0
