"""Exact grouping: what a group of tensors has of sums, and of metrics that do not add up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ftdiff.comparison.frame import Columns, among, broken, floats, length, there, typed
from ftdiff.comparison.statuses import MOVED, RESHAPED
from ftdiff.deltas.moments import COLUMNS, COUNTS, MAXIMA, TURNED, total
from ftdiff.deltas.rescaling import turned_sq
from ftdiff.errors import BadCall
from ftdiff.tensors import Array

#: What tells a group apart: its value of each column, None where that is missing.
Key: TypeAlias = tuple[Any, ...]
#: What a group's number may be over.
Over: TypeAlias = Literal["all", "moved"]
OVERS = get_args(Over)


def groups(columns: Columns, keys: Sequence[str]) -> dict[Key, Array]:
    """Return the rows of each group, groups ascending by key, missing values last.

    Sublayers ascend as numbers do.
    """
    if not keys:
        return {(): np.arange(length(columns))}
    members: dict[Key, list[int]] = {}
    for i, key in enumerate(zip(*(columns[name].tolist() for name in keys), strict=True)):
        members.setdefault(tuple(None if v != v else v for v in key), []).append(i)
    numbered = [natural if name == "sublayer" else _as_is for name in keys]

    def order(key: Key) -> list[tuple[bool, Any]]:
        return [(v is None, 0 if v is None else of(v)) for of, v in zip(numbered, key, strict=True)]

    ordered = sorted(members, key=order)
    return {key: np.array(members[key]) for key in ordered}


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


def _as_is(value: Any) -> Any:
    return value


def that_moved(columns: Columns) -> Array:
    """Say which tensors moved: rows that were only added, or a shape that nothing fits, do not."""
    still = (columns["status"] == RESHAPED) & ~(floats(columns["delta_sq"]) > 0)
    moved: Array = among(columns["status"], MOVED) & ~still
    return moved


@dataclass(frozen=True)
class Group:
    """Some tensors, and those of them that a number of the group is over.

    Attributes
    ----------
    key
        Its value of each column.
    rows
        All of its tensors.
    counted
        Those that the number is over.
    of
        What these are: "matrices", "vectors", or "tensors" of both kinds.
    """

    key: Key
    rows: Array
    counted: Array
    of: str


def chosen(
    columns: Columns, keys: Sequence[str], over: Over = "all", vectors: bool = False
) -> list[Group]:
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
    matrix = np.fromiter((len(shape or ()) > 1 for shape in columns["shape"]), bool, len(moved))
    found = []
    for key, rows in groups(columns, keys).items():
        pool, of = rows, "tensors"
        if not vectors:
            matrices, others = rows[matrix[rows]], rows[~matrix[rows]]
            only = not len(matrices) or (moved[others].any() and not moved[matrices].any())
            pool, of = (others, "vectors") if only else (matrices, "matrices")
        moving, measured = pool[(moved & known)[pool]], pool[known[pool]]
        none_else = not len(moving) and lost[pool].any()
        counted = moving if over == "moved" and len(moving) else measured
        found.append(Group(key, rows, rows[:0] if none_else else counted, of))
    return found


def summed(columns: Columns, keys: Sequence[str], chosen: Sequence[Group]) -> dict[str, Array]:
    """Add up the sums of each group exactly.

    A tensor with entries that are not finite is left out; a group in which nothing else moved has
    no sums. `numel` and `counted` are the entries and the number of the tensors that the sums are
    over, and `of` what these are; `params`, `tensors`, `moved` and `energy`, the squared change,
    are of all in the group.
    """
    moved, known = that_moved(columns), there(columns["delta_sq"])
    sizes = np.array([size or 0 for size in columns["numel"]], np.int64)
    rows: list[list[Any]] = []
    for group in chosen:
        here = {name: columns[name][group.counted] for name in COLUMNS}
        sums = {name: _total(values, name) for name, values in here.items()}
        sums[TURNED] = _turned(here)
        counts = [int(sizes[group.counted].sum()), len(group.counted), int(sizes[group.rows].sum())]
        counts += [len(group.rows), int(moved[group.rows].sum())]
        energy = _total(columns["delta_sq"][group.rows[known[group.rows]]], "delta_sq")
        energy = energy if len(group.counted) else None
        rows.append([*group.key, *sums.values(), *counts, energy, group.of])
    names = [*keys, *COLUMNS, "numel", "counted", "params", "tensors", "moved", "energy", "of"]
    return typed({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _turned(sums: Columns) -> float | None:
    """Return ‖W₁ − c* W‖² of several tensors; missing where no tensor had a second pass."""
    parts = [floats(sums[name]) for name in ("base_sq", "inner", "delta_sq")]
    if not all(there(part).all() for part in parts):
        return None
    turned = [None if value != value else value for value in floats(sums[TURNED]).tolist()]
    base_sq, inner, delta_sq = (part.tolist() for part in parts)
    return turned_sq(base_sq, inner, delta_sq, turned)


def _total(values: Array, name: str) -> float | int | None:
    """Add a column up, to the same bits in any order; missing where a part of it is missing."""
    if not len(values) or not there(values).all():
        return None
    if name in MAXIMA:
        return float(max(values))
    return int(sum(values)) if name in COUNTS else total(floats(values))


def apart(columns: Columns, chosen: Sequence[Group], pools: Mapping[str, str]) -> dict[str, Array]:
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
    groups = [group.counted if moved[group.counted].any() else group.rows[:0] for group in chosen]
    alone = [rows[moved[rows]] for rows in groups]
    still = {**columns, **{name: np.where(moved, columns[name], 0.0) for name in pools}}
    return typed(
        {
            name: [_pooled(still, rows, name, pool) for rows in (groups if pool else alone)]
            for name, pool in pools.items()
        }
        | added
    )


def _added(values: Array, chosen: Sequence[Group]) -> list[float | None]:
    """Add a column up over all tensors of each group that have it; missing where none has."""
    known = there(values)
    held = [floats(values[group.rows[known[group.rows]]]) for group in chosen]
    return [math.fsum(some) if len(some) else None for some in held]


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
