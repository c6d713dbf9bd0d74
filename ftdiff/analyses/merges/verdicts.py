"""What the rows of all tensors say together: which merge it is, of whom, and how exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ftdiff.analyses.finding import counted, listed
from ftdiff.analyses.merges.missing import Rest, rest
from ftdiff.analyses.merges.mixes import UNSURE, Row, common, mix, of_sparse
from ftdiff.analyses.merges.tensor import ROUNDED
from ftdiff.analyses.merges.ways import WAYS
from ftdiff.comparison.statuses import UNREADABLE
from ftdiff.tensors import Array

#: Exit codes: each verdict has its own.
EXITS = {"exactly": 0, "none": 1, "unreadable": 2, "changed": 3, "partly": 4, "sparse": 5}
#: What is wrong with a merge that would else be exact.
_FAULTS = ("apart", "unmatched", UNREADABLE)
#: Statuses of what the weights of other tensors may explain yet.
OPEN = ("rounded", "changed", "partly", "none")
_JUDGED = ("exact", "rounded", "changed", "partly", "sparse", "none", "apart")
#: A coefficient that is no larger, and no larger than four of its errors, is none.
_NOTHING = 0.004
#: One that is as near to 1, where no other is in it, is the parent itself.
_ITSELF = 0.02
#: What may be left where the shares sum to 1, and a parent's share that may be missing: with more
#: of either it is another model. A smaller share than the last is not said where it is a guess.
_TRAINED, _HALF, _HINTED = 0.6, 0.5, 0.02


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
        return "sparse", (*of_sparse(judged, names), *_left_out(rows)), {}
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
    weak = max((errors[i] for i in inside), default=0.0) > UNSURE
    if not inside and verdict == "exactly":
        said = "no merge: none of these is in it, it is the base itself"
        return "none", (said, *_left_out(rows)), numbers
    weak = weak and verdict != "none"
    if not inside or (weak and left > ROUNDED):
        verdict = "none"
    elif weak and verdict == "exactly":
        verdict = "changed"
    loose = left > ROUNDED and about.get("base") is not None and len(inside) > 1 and not weak
    what = rest(judged, left) if loose else Rest("", math.nan)
    verdict = _settled(verdict, what, left)
    told = mix(fitted, names, means, errors, inside)
    whole = set(shares) == {"exact"}
    sentences = [_first(verdict, told, left, about, what, whole=whole)]
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


def _settled(verdict: str, what: Rest, left: float) -> str:
    """Return the verdict, where it is known what is left: training on top, or another parent."""
    if what.kind == "trained" and left <= _TRAINED:
        return "changed"
    return "partly" if what.kind == "missing" and what.share <= _HALF else verdict


def _pooled(rows: Sequence[Row]) -> tuple[Array, Array]:
    """Return the coefficients of all, each tensor weighed by its errors, and their errors."""
    c = np.array([row["coefficients"] for row in rows], dtype=float)
    e = np.maximum(np.array([row["errors"] for row in rows], dtype=float), 1e-7)
    known = np.isfinite(c) & np.isfinite(e)
    w = np.where(known, 1 / e**2, 0.0)
    total = np.maximum(w.sum(axis=0), 1e-300)
    return (np.where(known, c, 0.0) * w).sum(axis=0) / total, 1 / np.sqrt(total)


def _first(
    verdict: str, told: str, left: float, about: Mapping[str, Any], what: Rest, *, whole: bool
) -> str:
    among = f" in a sample of {about['sample']:,} entries a tensor" if about.get("sample") else ""
    if verdict == "exactly":
        return (
            f"a merge, exactly{among}: {told}; every entry rounds right, nothing was trained on top"
        )
    if verdict == "changed" and whole:
        return (
            f"a merge of what was held against it{among}: {told}; every entry of that rounds right"
        )
    if verdict == "changed" and left <= ROUNDED:
        said = "no arithmetic that is tried replays every entry, and no more than rounding is left"
        return f"a merge, not proved exact{among}: {told}; {said}"
    if verdict == "changed":
        said = f"{left:.2g} of its change is something else"
        return f"a merge, then changed{among}: {told}; {said}{_or_missing(what)}"
    if verdict == "partly":
        said = f"{left:.2g} of its change is something else"
        why = ": a parent is missing, or it was trained on"
        if what.kind == "missing":
            why = f": a parent is missing, whose share is about {what.share:.2g}"
        return f"partly from these{among}: {told}; {said}{why}"
    return f"no merge of these: {left:.2g} of its change is something else"


def _or_missing(what: Rest) -> str:
    """Say which parent may be missing too, where the sum of the shares does not tell."""
    if what.kind == "trained":
        return ", and the shares sum to 1: it was trained on"
    if math.isnan(what.share) or what.share < _HINTED:
        return ""
    return f": it was trained on, or a parent like these of a share of {what.share:.2g} is missing"


def _evidence(rows: Sequence[Row], names: Sequence[str], inside: Sequence[int]) -> Iterator[str]:
    outside = [name for i, name in enumerate(names) if i not in inside]
    if outside and inside:
        yield f"not in it: {listed(outside, 6)}"
    exact = [row for row in rows if row["status"] == "exact"]
    replayed = [row for row in exact if row["replay"] == 1.0]
    if replayed:
        moved: Counter[str] = Counter()
        for row in replayed:
            moved["SLERP" if row.get("t") is not None else WAYS[row["way"]].said] += row["moved"]
        way, many = moved.most_common(1)[0][0], counted(len(rows), "tensor")
        yield f"replayed to the bit: {len(replayed)} of {many}, most as {way}"
    turned = any(row.get("t") is not None for row in exact)
    for i in () if turned else inside:
        both = common(exact, i)
        if both is not None:
            yield f"every entry rounds right for {names[i]} from {both.low:.7g} to {both.high:.7g}"


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
