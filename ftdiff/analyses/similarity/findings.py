"""What a similarity shows, in sentences with their numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from ftdiff.analyses.finding import Finding, counted, gravest_first, listed, speaks_for
from ftdiff.analyses.pairwise import said as of_files
from ftdiff.analyses.pairwise import troubles
from ftdiff.analyses.similarity import bias
from ftdiff.analyses.similarity import clusters as grouping
from ftdiff.analyses.similarity.result import Similarity
from ftdiff.numbers import signed

# A cosine this many standard deviations from what chance gives is more than chance.
_BEYOND = 5.0
# A cosine below this, negated, undoes something.
_AGAINST = 0.1
# A change that could not be seen is not said to be none.
_EXCUSED = ("nonfinite", "unreadable")
# Signs that are opposed more often than this are a conflict; chance gives one half.
_OPPOSED = 0.4


@speaks_for(Similarity)
def findings(found: Similarity) -> list[Finding]:
    """Return what is worth saying, alarms first."""
    said = [
        *troubles(found.about),
        *of_files(found.about),
        *_dead(found),
        *bias.under_the_floor(found),
        *bias.before_rounding(found),
        *bias.alike_by_rounding(found),
        *_duplicates(found),
        *_opposites(found),
        *_groups(found),
        *_unrelated(found),
        *_conflicts(found),
    ]
    return gravest_first(said)


def _dead(found: Similarity) -> Iterator[Finding]:
    own = np.nansum(np.einsum("tii->ti", found.sums["inner"]), axis=0)
    for name, norm in zip(found.names, own, strict=True):
        if norm == 0 and not any(name in found.about.get(k, {}) for k in _EXCUSED):
            yield Finding("dead", "alarm", f"{name}: its change is exactly zero", {"name": name})


def _duplicates(found: Similarity) -> Iterator[Finding]:
    named: set[str] = set()  # of many copies each is named once, beside the first
    for row in found.duplicates.to_dict("records"):
        a, b, cosine, ratio = row["a"], row["b"], row["cosine"], row["norm_ratio"]
        if cosine < 0 or b in named:
            continue
        named.add(b)
        scale = "" if abs(ratio - 1) < 1e-3 else f", at {ratio:.3g} times the length"
        yield Finding(
            "duplicate",
            "caution",
            f"{b} is the same change as {a}{scale}: cosine {cosine:.6f}{bias.warned(row)}",
            {"a": a, "b": b, "cosine": cosine, "norm_ratio": ratio, "threshold": grouping.SAME},
        )


def _opposites(found: Similarity) -> Iterator[Finding]:
    for row in found.by().to_dict("records"):
        if row["cosine"] < min(-_AGAINST, -_BEYOND * row["cosine_null"]):
            yield Finding(
                "opposed",
                "caution",
                f"{row['a']} and {row['b']} undo each other{_how_far(row)}: cosine "
                f"{signed(row['cosine'], '.3f')}, where chance gives ±{row['cosine_null']:.1g}"
                f"{bias.warned(row)}",
                {key: row[key] for key in ("a", "b", "cosine", "cosine_null")},
            )


def _how_far(row: Mapping[Hashable, Any]) -> str:
    """Say whether they undo each other in part, or the shorter of them is undone, or both are."""
    ratio = row["norm_ratio"]
    if row["cosine"] > -grouping.SAME or not ratio > 0:
        return " in part"
    if abs(ratio - 1) < 1e-3:
        return " wholly"
    return f" in part, as opposites of which {row['b']} is {ratio:.3g} times as long"


def _groups(found: Similarity) -> Iterator[Finding]:
    groups = found.groups
    several = [members for members in groups.members if len(members) > 1]
    if not several or len(found.names) < 3:
        return
    shown = "; ".join(listed([*members], 6) for members in several)
    alone = len(groups.members) - len(several)
    rest = f", and {counted(alone, 'other')} in none" if alone else ""
    biased, why = bias.grouped(found, several)
    yield Finding(
        "groups",
        "caution" if biased else "note",
        f"{counted(len(several), 'group')} of alike changes: {shown}{rest} ({groups.criterion})"
        f"{why}",
        {
            "members": [list(members) for members in groups.members],
            "criterion": groups.criterion,
            "biased": biased,
        },
    )


def _unrelated(found: Similarity) -> Iterator[Finding]:
    near = found.neighbours
    pairs = {frozenset((row["a"], row["b"])): row for row in found.by().to_dict("records")}
    with np.errstate(all="ignore"):
        lone = near[near["over_null"].abs() < _BEYOND]
    for row in lone.to_dict("records"):
        warned = bias.warned(pairs[frozenset((row["name"], row["nearest"]))])
        yield Finding(
            "unrelated",
            "note",
            f"{row['name']}: no other change is more like it than chance: nearest "
            f"{row['nearest']}, cosine {signed(row['cosine'], '.2g')}, "
            f"{signed(row['over_null'], '.1f')} standard deviations{warned}",
            {str(key): value for key, value in row.items()},
        )


def _conflicts(found: Similarity) -> Iterator[Finding]:
    if "signs" not in found.measures:
        return
    several = float(found.sums["signs.several"].sum())
    opposed = float(found.sums["signs.disagreeing"].sum())
    if several and opposed / several >= _OPPOSED:
        yield Finding(
            "sign-conflict",
            "caution",
            f"of the entries that two or more move most, {opposed / several:.0%} are pulled in "
            "opposite directions: an average cancels them",
            {"share": opposed / several, "entries": several, "threshold": _OPPOSED},
        )
