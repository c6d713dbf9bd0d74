"""Look at the structure of a change: a few matrices first, and all where these hint at one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ftdiff.comparison.executors import Workplace
from ftdiff.comparison.kinship import is_unrelated
from ftdiff.comparison.plan import Plan
from ftdiff.comparison.progress import phase
from ftdiff.comparison.result import Diff
from ftdiff.comparison.structure import edited, looks
from ftdiff.comparison.structure.lines import few_lines
from ftdiff.comparison.structure.looks import Seen
from ftdiff.comparison.structure.matrices import Matrix, moved_matrices, spread
from ftdiff.comparison.structure.ranks import Ranks, agreed
from ftdiff.formats.quantised.rounding import Rounding
from ftdiff.metrics.records.slopes import Slope, best, total
from ftdiff.metrics.records.stored_rows import MANY

#: Matrices that are looked at first, of which slopes are measured, and that are looked at in all.
_FIRST, _SLOPES, _ALL = 20, 4, 256
#: Matrices of which many rows are read: to see whether there is a rank, and then which.
_DEEP, _DEEPER = 2, 8
#: Matrices on which a scale of each row is tried, and the share that it must explain.
_SCALED, _EXPLAINED = (2, 6), 0.8
#: From this slope on a change is looked at further for the rounding of its base, and what it must
#: explain of a change.
_SLOPE, _OF_CHANGE, _ERROR = 0.8, 0.02, 0.05
#: Times which a slope of few matrices may be off, for more to be measured.
_DOUBT = 3.0
#: Bytes of samples that are read without a word.
_QUIET = 64 << 20


def surveyed(diff: Diff, plan: Plan, at: Workplace) -> Diff:
    """Return the diff with what a few rows tell of how it was made, in `about["structure"]`.

    Parameters
    ----------
    diff, plan
        What was measured, and of what: its sums say which matrices moved.
    at
        Where to look.
    """
    matrices = moved_matrices(diff, plan)
    if not matrices or is_unrelated(diff.about):
        return diff
    phase(at.progress, "structure")
    quiet = sum(min(one.change.size, 1 << 18) for one in matrices) < _QUIET
    found = _survey(matrices, replace(at, progress=None) if quiet else at)
    return Diff(diff.data, {**diff.about, "structure": found}) if found else diff


def _survey(matrices: Sequence[Matrix], at: Workplace) -> dict[str, Any]:
    first = looks.look(spread(matrices, _FIRST), at)
    if not first:
        return {}
    found: dict[str, Any] = {"matrices": len(matrices), "looked": len(first)}
    found |= _of_entries(matrices, first)
    slope = _slope(matrices, at)
    seen = first
    if slope is not None:
        found["base"] = _of_base(slope)
        seen = looks.look(spread(matrices, _FIRST), at, onto=slope.rounding)
    ranks, many = _ranks(matrices, seen, slope.rounding if slope else None, at)
    if ranks is not None:
        found["low_rank"] = {**ranks.record(), "scaled": False, "looked": many}
    if edited.worth_a_look(first):
        flat = [one for one in matrices if len(one.change.recipe.shape) == 2]
        some = spread(flat, _FIRST)
        if edits := edited.edited(looks.edits(some, at)):
            if len(flat) > len(some):
                some = spread(flat, _ALL)
                edits = edited.edited(looks.edits(some, at))
            found["edits"] = edited.record(edits, len(some))
    if not found.keys() & {"low_rank", "edits"} and (rank := _scaled(seen, at)) is not None:
        found["low_rank"] = rank
    if lines := few_lines(matrices, first, at):
        found["lines"] = [one.record() for one in lines]
    return found


def _ranks(
    matrices: Sequence[Matrix], first: Sequence[Seen], onto: Rounding | None, at: Workplace
) -> tuple[Ranks | None, int]:
    """Return the rank that all matrices agree on, where those first looked at do."""
    if agreed(first) is not None:
        if len(first) == len(matrices):
            return agreed(first), len(first)
        seen = looks.look(spread(matrices, _ALL), at, onto=onto, ranks_only=True)
        return agreed(seen), len(seen)
    large = [one for one in matrices if min(one.shape) > MANY]
    dense = [one for one in first if one.sound and not one.low]
    if not large or 2 * len(dense) < len(first):
        return None, 0
    if agreed(_deep(large, _DEEP, onto, at)) is None:
        return None, 0
    seen = _deep(large, _DEEPER, onto, at)
    return agreed(seen), len(seen)


def _deep(
    matrices: Sequence[Matrix], count: int, onto: Rounding | None, at: Workplace
) -> list[Seen]:
    """Look at many rows of a few matrices."""
    return looks.look(spread(matrices, count), at, most=MANY, onto=onto, ranks_only=True)


def _scaled(seen: Sequence[Seen], at: Workplace) -> dict[str, Any] | None:
    """Return the rank of factors beside a scale of each output row, where that explains most."""
    sound = [one.matrix for one in seen if one.sound]
    if 2 * len(sound) < len(seen) or 2 * sum(one.low for one in seen) > len(seen):
        return None  # rows that are scaled have all ranks
    tried: list[int] = []
    for count in _SCALED:
        tried = looks.scaled(spread(sound, count), at)
        fit = [rank for rank in tried if rank > 0]
        if not fit or len(fit) < _EXPLAINED * len(tried):
            return None
    rank = max({*fit}, key=fit.count)
    return {
        "rank": rank, "low": len(fit), "of": len(tried), "exact": fit.count(rank),
        "by_component": {}, "roundings": 1, "scaled": True, "looked": len(tried),
    }  # fmt: skip


def _slope(matrices: Sequence[Matrix], at: Workplace) -> Slope | None:
    """Return the slope on a rounding of the base, where it is near 1."""
    layers = [one for one in matrices if one.address.layer is not None] or [*matrices]
    small = sorted(spread(layers, _FIRST), key=lambda one: one.shape[0] * one.shape[1])
    few = _totals(looks.slopes(small[:_SLOPES], at))
    near = best(one for one in few if _holds(one, _DOUBT))
    if near is None:
        return None
    many = _totals(looks.slopes(spread(layers, _FIRST), at))
    return best(one for one in many if _holds(one))


def _holds(slope: Slope, doubt: float = 1.0) -> bool:
    near = abs(slope.value - 1) <= doubt * (1 - _SLOPE) and slope.error <= doubt * _ERROR
    return near and slope.explained >= _OF_CHANGE


def _totals(found: Sequence[tuple[Slope, ...]]) -> list[Slope]:
    kinds = dict.fromkeys(one.rounding for several in found for one in several)
    sums = [total(o for several in found for o in several if o.rounding == kind) for kind in kinds]
    return [one for one in sums if one is not None]


def _of_base(slope: Slope) -> Mapping[str, Any]:
    return {
        "scheme": slope.rounding.scheme,
        "scale": slope.rounding.scale,
        "slope": slope.value,
        "error": slope.error,
        "explained": slope.explained,
        "matrices": slope.matrices,
    }


def _of_entries(matrices: Sequence[Matrix], seen: Sequence[Seen]) -> dict[str, Any]:
    """Return what is counted: steps on the file's grid, and new zeros."""
    found: dict[str, Any] = {}
    moved, one, two = (sum(s.steps[i] for s in seen) for i in range(3))
    entries = sum(s.entries for s in seen)
    if one:
        shares = [matrix.changed for matrix in matrices]
        found["steps"] = {
            "changed": moved / entries, "one": one / moved, "two": two / moved,
            "least": float(np.quantile(shares, 0.05)), "most": float(np.quantile(shares, 0.95)),
        }  # fmt: skip
    zeros, two_of_four, fours = (sum(s.zeros[i] for s in seen) for i in range(3))
    if zeros:
        found["zeros"] = {
            "share": zeros / entries,
            "matrices": sum(s.zeros[0] >= 0.01 * s.entries for s in seen),
            "two_of_four": two_of_four / fours if fours else 0.0,
        }
    return found
