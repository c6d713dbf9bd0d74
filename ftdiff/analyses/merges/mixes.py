"""How parents are in a merge, in words: their coefficients, a turn, a stack, or what was kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses.finding import counted, listed
from ftdiff.analyses.merges.intervals import Interval
from ftdiff.analyses.merges.kept import SAID, like
from ftdiff.analyses.merges.ways import WAYS
from ftdiff.tensors import Array

Row: TypeAlias = Mapping[str, Any]

#: Where the error of all tensors together is larger, siblings of the parents fit as well.
UNSURE = 0.01
#: How far a tensor's coefficient may lie from that of all: in float32, in sums of few bits.
_ONE, _ONE_LOW = 0.001, 0.006


def _one(rows: Sequence[Row], means: Array) -> bool:
    """Say whether all tensors have one coefficient."""
    for row in rows:
        if row["status"] == "exact" and np.allclose(row["weights"], means, atol=_ONE_LOW):
            continue
        low = row.get("way") is not None and WAYS[row["way"]].low
        room = _ONE_LOW if low else _ONE
        for c, e, mean in zip(row["coefficients"], row["errors"], means, strict=True):
            if c is not None and abs(c - mean) > max(room, 5 * (e or 0.0)):
                return False
    return True


def mix(
    rows: Sequence[Row], names: Sequence[str], means: Array, errors: Array, inside: Sequence[int]
) -> str:
    """Name the parents that are in it, with their coefficients."""
    exact = [row for row in rows if row["status"] == "exact"]
    weights = {tuple(row["weights"]) for row in exact if None not in row["errors"]}
    ts = [row["t"] for row in rows if row.get("t") is not None]
    if ts and len(ts) >= len(rows) / 2:
        first, second = (names[i] for i in inside[:2]) if len(inside) > 1 else names[:2]
        return f"SLERP from {first} to {second}, t = {np.median(ts):.4g}"
    if not _one(rows, means):
        return _stacked(rows, names) or _spans(rows, names, inside)
    own = np.array(next(iter(weights))) if len(weights) == 1 else means
    if len(weights) > 1:
        both = [common(rows, i) for i in range(len(names))]
        own = np.array([
            mean if one is None else (one.low + one.high) / 2
            for mean, one in zip(means, both, strict=True)
        ])  # fmt: skip
    digits = [max(1, min(6, math.ceil(-math.log10(max(errors[i], 1e-6))))) for i in inside]
    return " + ".join(
        f"{own[i]:.{max(3, d)}f} of {names[i]}" for i, d in zip(inside, digits, strict=True)
    )


def _spans(rows: Sequence[Row], names: Sequence[str], inside: Sequence[int]) -> str:
    """Name the least and the greatest coefficient of each parent, of tensors that tell it."""
    c = np.array([row["coefficients"] for row in rows], dtype=float)
    e = np.array([row["errors"] for row in rows], dtype=float)
    found = []
    for i in inside:
        sharp = c[e[:, i] <= UNSURE, i]
        own = sharp if len(sharp) else c[:, i]
        low, high = np.nanmin(own), np.nanmax(own)
        found.append(f"{low:z.3f} to {high:z.3f} of {names[i]}")
    return " + ".join(found)


def _stacked(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Say which layers are whose, where every tensor is one parent's alone; else nothing."""
    layers: dict[int, set[int]] = {}
    for row in rows:
        own = [i for i, w in enumerate(row.get("weights") or ()) if w is not None and abs(w) > 1e-6]
        if not own and row["status"] == "exact":
            continue  # as the base has it, and so may a parent
        if row["status"] != "exact" or len(own) != 1 or abs(row["weights"][own[0]] - 1) > 1e-6:
            return ""
        if row["layer"] is not None:
            layers.setdefault(row["layer"], set()).add(own[0])
    if not layers or any(len(own) > 1 for own in layers.values()):
        return ""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layers[layer] == layers[runs[-1][0]]:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    said = [
        f"{counted(len(run), 'layer')} of {names[min(layers[run[0]])]} ({_span(run)})"
        for run in runs
    ]
    return "stacked of " + listed(said, 8)


def _span(run: Sequence[int]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"


def common(rows: Sequence[Row], i: int) -> Interval | None:
    """Return for which coefficients of a parent every entry of every exact tensor rounds right."""
    both = Interval()
    for row in rows:
        if row["status"] != "exact" or WAYS[row["way"]].low or row.get("t") is not None:
            continue
        low, high = row["low"][i], row["high"][i]
        if low is not None and high is not None:
            both = both & Interval(low, high)
    finite = math.isfinite(both.low) and math.isfinite(both.high)
    return both if finite and not both.empty else None


def of_sparse(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Say how entries were chosen, at which density, and how many tensors are such."""
    found = [row for row in rows if row["status"] == "sparse"]
    votes: Counter[bool | None] = Counter()
    for row in found:
        votes[row["by_size"]] += row["moved"]
    by_size = votes.most_common(1)[0][0]
    own = [row for row in found if row["by_size"] == by_size]
    asked, both = (sum(row[name] for row in own) for name in ("asked", "both"))
    density, strengths = _weighed(own, "density"), _middle(own, "strengths")
    way = SAID[like(by_size, asked, both)]
    known = [one for one in density if one is not None]
    mean = f", density {np.mean(known):.2f}" if known else ""
    each = ", ".join(
        f"every change of {name} that shows" if d is None else f"{d:.2f} of {name}"
        for name, d in zip(names, density, strict=True)
    )
    yield f"a sparse merge ({way}){mean}: {each}"
    alone = ", ".join(
        f"{s:.4g} × {name}" for name, s in zip(names, strengths, strict=True) if s is not None
    )
    auroc = np.median([row["auroc"] for row in found])
    yield f"where one is in alone it is {alone}; size tells what is in by AUROC {auroc:.2f}"
    share = sum(row["moved"] for row in found) / sum(row["moved"] for row in rows)
    many = counted(len(rows), "tensor")
    yield f"{len(found)} of {many} are such, with {share:.1%} of the entries that moved"


def _weighed(rows: Sequence[Row], name: str) -> list[float | None]:
    """Return the mean of a number of each parent, weighed by the entries that are moved."""
    means: list[float | None] = []
    for values in zip(*(row[name] for row in rows), strict=True):
        known = [(v, row["moved"]) for v, row in zip(values, rows, strict=True) if v is not None]
        total = sum(moved for _, moved in known)
        means.append(sum(v * moved for v, moved in known) / total if total else None)
    return means


def _middle(rows: Sequence[Row], name: str) -> list[float | None]:
    """Return the median of a number of each parent: a small tensor may have found another."""
    known = [
        [v for v in values if v is not None]
        for values in zip(*(row[name] for row in rows), strict=True)
    ]
    return [float(np.median(values)) if values else None for values in known]
