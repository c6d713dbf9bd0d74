"""What the rows of all tensors say together: which merge it is, of whom, and how exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses.finding import counted, listed
from ftdiff.analyses.merges.intervals import Interval
from ftdiff.analyses.merges.sparse import SAID, like
from ftdiff.analyses.merges.tensor import ROUNDED
from ftdiff.analyses.merges.ways import WAYS
from ftdiff.comparison.statuses import UNREADABLE
from ftdiff.tensors import Array

Row: TypeAlias = Mapping[str, Any]

#: Exit codes: each verdict has its own.
EXITS = {"exactly": 0, "none": 1, "unreadable": 2, "changed": 3, "partly": 4, "sparse": 5}
#: What is wrong with a merge that would else be exact.
_FAULTS = ("apart", "unmatched", UNREADABLE)
#: Statuses of what the weights of other tensors may explain yet.
OPEN = ("rounded", "changed", "partly", "none")
_JUDGED = ("exact", "rounded", "changed", "partly", "sparse", "none", "apart")
#: A coefficient that is no larger, and no larger than four of its errors, is none.
_NOTHING = 0.004
#: Where the error of all tensors together is larger, siblings of the parents fit as well.
_UNSURE = 0.01
#: One that is as near to 1, where no other is in it, is the parent itself.
_ITSELF = 0.02
#: How far a tensor's coefficient may lie from that of all: in float32, in sums of few bits.
_ONE, _ONE_LOW = 0.001, 0.006


def reach(rows: Sequence[Row], about: Mapping[str, Any]) -> tuple[str, tuple[str, ...], Row]:
    """Return the verdict, its sentences, and numbers of all tensors for `about`."""
    judged = [row for row in rows if row["status"] in _JUDGED]
    if not judged:
        bad = any(row["status"] == UNREADABLE for row in rows)
        said = "nothing can be read" if bad else "no tensor tells: nothing is moved, or by nobody"
        return "unreadable" if bad else "none", (said, *_left_out(rows)), {}
    names = [*about["parents"]]
    shares = _shares(judged)
    if shares.get("sparse", 0.0) >= 0.5:
        return "sparse", (*_sparse(judged, names), *_left_out(rows)), {}
    fitted = [row for row in judged if row.get("coefficients") and row["status"] != "sparse"]
    if not fitted:
        return "none", ("no parent changes what is changed", *_left_out(rows)), {}
    means, errors = _pooled(fitted)
    numbers = {"coefficients": dict(zip(names, means.tolist(), strict=True))}
    numbers["errors"] = dict(zip(names, errors.tolist(), strict=True))
    left = _left(judged)
    least = max(_NOTHING, left / 10)
    inside = [i for i in range(len(names)) if abs(means[i]) > max(least, 4 * errors[i])]
    verdict = _verdict(rows, shares)
    if len(inside) == 1 and abs(means[inside[0]] - 1) <= _ITSELF and verdict != "none":
        more = "" if verdict == "exactly" else f", changed: {left:.2g} of it is something else"
        return "none", (f"no merge: it is {names[inside[0]]}{more}", *_left_out(rows)), numbers
    weak = max((errors[i] for i in inside), default=0.0) > _UNSURE
    if not inside and verdict == "exactly":
        said = "no merge: none of these is in it, it is the base itself"
        return "none", (said, *_left_out(rows)), numbers
    weak = weak and verdict != "none"
    if not inside or (weak and left > ROUNDED):
        verdict = "none"
    elif weak and verdict == "exactly":
        verdict = "changed"
    told = _mix(fitted, names, means, errors, inside)
    sentences = [_first(verdict, told, left, about)]
    if verdict in ("partly", "none") and about.get("base") is None:
        sentences.append("without the base that they were tuned from, TIES and DARE are not told")
    if weak and verdict == "none":
        said = "too few entries are moved to tell: siblings of the parents would fit as well"
        return verdict, (said, *_parts(judged), *_left_out(rows)), numbers
    if weak:
        sentences.append("so few entries tell the coefficients that other mixes would do as well")
    sentences += [] if verdict == "none" else _evidence(fitted, names, inside)
    return verdict, (*sentences, *_parts(judged), *_left_out(rows)), numbers


def _shares(rows: Sequence[Row]) -> dict[str, float]:
    """Return the share of the moved entries by status."""
    total = sum(row["moved"] for row in rows)
    found: dict[str, float] = {}
    for row in rows:
        found[row["status"]] = found.get(row["status"], 0.0) + row["moved"] / total
    return found


def _left(rows: Sequence[Row]) -> float:
    """Return what is left beside rounding over all, each tensor by its moved entries."""
    pairs = [(row["moved"], row["left"]) for row in rows if row.get("left") is not None]
    total = sum(moved for moved, _ in pairs)
    return math.sqrt(sum(moved * left**2 for moved, left in pairs) / total) if total else 0.0


def _verdict(rows: Sequence[Row], shares: Mapping[str, float]) -> str:
    open_ = any(row["status"] in _FAULTS or row.get("nonfinite") for row in rows)
    if set(shares) == {"exact"} and not open_:
        return "exactly"
    near = sum(shares.get(one, 0.0) for one in ("exact", "rounded", "changed"))
    if near >= 0.5:
        return "changed"
    return "partly" if near + shares.get("partly", 0.0) >= 0.5 else "none"


def _pooled(rows: Sequence[Row]) -> tuple[Array, Array]:
    """Return the coefficients of all, each tensor weighed by its errors, and their errors."""
    c = np.array([row["coefficients"] for row in rows], dtype=float)
    e = np.maximum(np.array([row["errors"] for row in rows], dtype=float), 1e-7)
    known = np.isfinite(c) & np.isfinite(e)
    w = np.where(known, 1 / e**2, 0.0)
    total = np.maximum(w.sum(axis=0), 1e-300)
    return (np.where(known, c, 0.0) * w).sum(axis=0) / total, 1 / np.sqrt(total)


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


def _mix(
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
        both = [_common(rows, i) for i in range(len(names))]
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
        sharp = c[e[:, i] <= _UNSURE, i]
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


def _first(verdict: str, told: str, left: float, about: Mapping[str, Any]) -> str:
    among = f" in a sample of {about['sample']:,} entries a tensor" if about.get("sample") else ""
    if verdict == "exactly":
        return (
            f"a merge, exactly{among}: {told}; every entry rounds right, nothing was trained on top"
        )
    if verdict == "changed" and left <= ROUNDED:
        said = "no arithmetic that is tried replays every entry, and no more than rounding is left"
        return f"a merge, not proved exact{among}: {told}; {said}"
    if verdict == "changed":
        return f"a merge, then changed{among}: {told}; {left:.2g} of its change is something else"
    if verdict == "partly":
        said = f"{left:.2g} of its change is something else: a parent is missing, or it was trained"
        return f"partly from these{among}: {told}; {said} on"
    return f"no merge of these: {left:.2g} of its change is something else"


def _evidence(rows: Sequence[Row], names: Sequence[str], inside: Sequence[int]) -> Iterator[str]:
    outside = [name for i, name in enumerate(names) if i not in inside]
    if outside and inside:
        yield f"not in it: {listed(outside, 6)}"
    exact = [row for row in rows if row["status"] == "exact"]
    replayed = [row for row in exact if row["replay"] == 1.0]
    if replayed:
        moved: Counter[str] = Counter()
        for row in replayed:
            moved[row["way"]] += row["moved"]
        way, many = moved.most_common(1)[0][0], counted(len(rows), "tensor")
        yield f"replayed to the bit: {len(replayed)} of {many}, most as {WAYS[way].said}"
    turned = any(row.get("t") is not None for row in exact)
    for i in () if turned else inside:
        both = _common(exact, i)
        if both is not None:
            yield f"every entry rounds right for {names[i]} from {both.low:.7g} to {both.high:.7g}"


def _common(rows: Sequence[Row], i: int) -> Interval | None:
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


def _parts(rows: Sequence[Row]) -> Iterator[str]:
    """Name the tensors of each kind, where there are several."""
    by: dict[str, list[str]] = {}
    for row in rows:
        by.setdefault(row["status"], []).append(row["tensor"])
    if len(by) > 1:
        for status, tensors in by.items():
            yield f"{status}: {counted(len(tensors), 'tensor')}, {listed(tensors)}"


def _left_out(rows: Sequence[Row]) -> Iterator[str]:
    for status in ("unmatched", UNREADABLE):
        found = [row for row in rows if row["status"] == status]
        if found:
            names = listed([row["tensor"] for row in found])
            yield f"{status}: {counted(len(found), 'tensor')}, {names} ({found[0]['said']})"
    broken = [row["tensor"] for row in rows if row.get("nonfinite")]
    if broken:
        yield f"entries that are not finite, left out: {listed(broken)}"


def _sparse(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    found = [row for row in rows if row["status"] == "sparse"]
    votes: Counter[bool | None] = Counter()
    for row in found:
        votes[row["by_size"]] += row["moved"]
    by_size = votes.most_common(1)[0][0]
    own = [row for row in found if row["by_size"] == by_size]
    asked, both = (sum(row[name] for row in own) for name in ("asked", "both"))
    density, strengths = _weighed(own, "density"), _weighed(own, "strengths")
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
