"""What the rows of candidates say: which one is the nearest, and whether that is the parent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from ftdiff.analyses.lineage_tree import Tree
from ftdiff.analyses.merges import MergeOf
from ftdiff.deltas.recipes import Tuned

#: Below this cosine of the matrices, and without a tensor in common, two models are strangers:
#: those of independent starts have 0 ± 1/√n.
_STRANGER = 0.5
#: A candidate that shares fewer of the parameters is no parent.
_SHARED = 0.5
#: From this share on it was compared in full: a tensor or two that cannot be read change no rank.
_WHOLE = 0.99
#: Two candidates that are as far away, up to this share, cannot be told apart.
_TIE = 1e-3
#: The verdict on a merge of candidates, and all that name candidates.
MERGE = "merge"
FOUND = ("parent", "nearest", MERGE)
#: Coefficients that differ by less from layer to layer are said as one; larger ones of a merge that
#: lacks a parent are in it.
_SPREAD, _IN = 0.02, 0.1

Row = dict[str, Any]


def key(row: Row) -> tuple[bool, bool, float]:
    """Rank strangers last, and what was compared in part after what was compared in full."""
    norm = row["relative_norm"]
    return not related(row), row["coverage"] < _WHOLE, math.inf if norm is None else norm


def reach(
    tuned: Tuned, rows: Sequence[Row], merge: MergeOf | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its sentences."""
    best, rest = rows[0], rows[1:]
    evidence = [_evidence(row) for row in rows]
    named = tuned.config.get("_name_or_path")
    hint = [f"its config.json names {named!r}"] if isinstance(named, str) and named else []
    if not related(best):
        said = f"{tuned.source} was made from none of these, as far as their weights tell"
        return "nobody", (said, *evidence, *hint)
    if merge is not None and merge.verdict != "partly":
        return MERGE, (_merged(tuned.source, merge), *merge.sentences, *evidence, *hint)
    hint += [f"not all of it: {merge.sentences[0]}"] if merge is not None else []
    tied = [row for row in rest if related(row) and _as_near(best, row)]
    if tied:
        names = ", ".join(row["candidate"] for row in (best, *tied))
        return "tie", (f"the weights cannot tell which: {names} are as near", *evidence, *hint)
    among = " of those compared in full" if any(_nearer_in_part(row, best) for row in rest) else ""
    said = f"{best['candidate']} is the nearest{among}, by {_by(best, rest)}"
    if merge is None and isinstance(named, str) and _last(named) == _last(best["candidate"]):
        return "parent", (said, *evidence, f"its config.json names {named!r}: this one, the parent")
    caution = "a distance has no direction: it may be the parent, a child, or another child of the "
    caution += "same base, which the weights alone do not tell apart"
    return "nearest", (said, *evidence, caution, *hint)


def _merged(source: str, merge: MergeOf) -> str:
    """Say of which candidates it is a merge, at which shares where these are one, and how."""
    shares = _shares(merge)
    names = [name for name, share in shares.items() if abs(share) > _SPREAD]
    if merge.verdict == "sparse":
        return f"{source} is a sparse merge of {_and([*shares])}"
    ts = merge.frame["t"].dropna()
    profile = merge.profile
    if len(ts) >= len(merge.frame) / 2:
        at = f" by SLERP, t = {ts.astype(float).median():.4g}"
    elif len(profile) < 2 or bool((profile.max() - profile.min()).max() <= _SPREAD):
        digits = 3 if merge.verdict == "exactly" else 2
        at = " at " + "/".join(f"{shares[name]:.{digits}g}" for name in names)
    else:
        at = ", at shares that change with depth"
    how = " (exactly)" if merge.verdict == "exactly" else ", then changed"
    return f"{source} is a merge of {_and(names)}{at}{how}"


def _and(names: Sequence[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def _shares(merge: MergeOf) -> dict[str, float]:
    """Return the coefficient of each parent: as replayed, or as fitted."""
    names = [*merge.about["parents"]]
    exact = merge.frame[merge.frame["status"] == "exact"]["weights"].dropna()
    if merge.verdict == "exactly" and len(exact):
        own = np.median(np.array([[*one] for one in exact], dtype=float), axis=0)
        return dict(zip(names, own.tolist(), strict=True))
    return {name: merge.about.get("coefficients", {}).get(name, 1.0) for name in names}


def summary(merge: MergeOf | None) -> dict[str, Any] | None:
    """Return what a lineage keeps of a merge, as plain values."""
    if merge is None:
        return None
    return {
        "verdict": merge.verdict,
        "parents": dict(merge.about["parents"]),
        "coefficients": merge.about.get("coefficients"),
        "base": merge.about["base"],
        "sentences": [*merge.sentences],
    }


def of_tree(tree: Tree, merges: Mapping[int, MergeOf | None], *, known: bool) -> tuple[str, ...]:
    """Say which leaves do not fit, and of which it is `known` why: the first, and others."""
    if not tree.marked:
        return ()
    if known:
        return ("the tree is drawn as if nothing was merged, and does not fit it",)
    names = ", ".join(f"{tree.models[i]} (δ {tree.deltas[i]:.2f})" for i in tree.marked)
    said = f"the tree does not fit {names}: a merge, or fine-tunes that moved alike, bend it so"
    why = [
        f"of these, {tree.models[i]} is {found.sentences[0]}"
        for i, found in merges.items()
        if found is not None and found.verdict != "partly"
    ]
    return said, *why


def _last(path: str) -> str:
    return PurePath(path.rstrip("/\\")).name.lower()


def _nearer_in_part(row: Row, best: Row) -> bool:
    near = row["relative_norm"]
    return related(row) and near is not None and near < (best["relative_norm"] or 0.0)


def related(row: Row) -> bool:
    """Say whether a candidate and the fine-tune are of one training."""
    if row["coverage"] < _SHARED or not row["tensors"]:
        return False
    return bool(row["equal"]) or (row["cosine"] or 0.0) >= _STRANGER


def _as_near(best: Row, row: Row) -> bool:
    near, far = best["relative_norm"] or 0.0, row["relative_norm"] or 0.0
    alike = (row["coverage"] < _WHOLE) == (best["coverage"] < _WHOLE) and row["equal"] == best[
        "equal"
    ]
    return bool(alike and far - near <= _TIE * far)


def _by(best: Row, rest: Sequence[Row]) -> str:
    whole = [row for row in rest if not _nearer_in_part(row, best)]
    following = next((row for row in whole if row["relative_norm"] is not None), None)
    if following is None:
        return "itself: there is no other to hold it against"
    if not best["relative_norm"]:
        return "being the same"
    return f"{following['relative_norm'] / best['relative_norm']:.3g} times less change"


def _evidence(row: Row) -> str:
    if not row["tensors"]:
        return f"{row['candidate']}: {row['said'] or 'nothing that tells models apart'}"
    numbers = [f"{row['equal']:,} of {row['tensors']:,} tensors the same"]
    numbers += [
        f"{word} {row[name]:.4g}"
        for word, name in (("cosine", "cosine"), ("change / norm", "relative_norm"))
        if row[name] is not None
    ]
    if row["coverage"] < 1:
        numbers.append(f"{row['coverage']:.1%} of the parameters compared")
    if row["measured"] == "sample":
        numbers.append("from a sample")
    if row["said"]:
        numbers.append(str(row["said"]))
    return f"{row['candidate']}: {', '.join(numbers)}"
