"""Several diffs held against each other: over what moved of each, and only where that is alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftdiff.analyses.finding import counted
from ftdiff.comparison.aggregation import that_moved
from ftdiff.comparison.frame import among
from ftdiff.comparison.result import Diff
from ftdiff.comparison.scope import Scope, scope, withheld
from ftdiff.comparison.statuses import PAIRED
from ftdiff.numbers import MISSING, number, times


@dataclass(frozen=True)
class SideBySide:
    """Several diffs in a small table: the words above its columns, and a row for each diff."""

    words: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class _Size:
    """How far one moved: the number and as it is written, what it is, and over what."""

    value: float
    text: str
    kind: str
    scope: Scope


def side_by_side(diffs: Mapping[str, Diff]) -> SideBySide:
    """Return of each diff how far it moved, over what, and how far that is above rounding."""
    words = ("‖ΔW‖/‖W‖", "over", "÷ rounding", "moved")
    rows = []
    for name, diff in diffs.items():
        overall = {} if withheld(diff) else diff.whole("moved")
        stood = overall.get("snr")
        values = (
            number(overall.get("relative_norm"), 3),
            over(diff) or MISSING,
            MISSING if stood is None else times(math.sqrt(stood)),
            f"{int(that_moved(diff.columns).sum()):,}",
        )
        rows.append((name, values))
    return SideBySide(words, tuple(rows))


def over(diff: Diff) -> str:
    """Say over what the number of a diff is that is held against another's; "" without one.

    It is what moved: the same for an adapter, its merge, and a copy of either.
    """
    of = scope(diff, "moved")
    if withheld(diff) or not of.counted:
        return ""
    return "none moved" if of.still else of.things


def ranked(diffs: Mapping[str, Diff]) -> str:
    """Say which of several diffs moved most, by their names; or why none is said to.

    The numbers are over what moved. Where they are written alike, they moved alike; a selection
    is held against nothing but the same tensors.
    """
    if apart := _apart(diffs):
        return apart
    sizes = {name: size for name, diff in diffs.items() if (size := _size(diff)) is not None}
    alike = {(size.kind, size.scope.of) for size in sizes.values()}
    if len(sizes) < len(diffs) or len(alike) > 1:
        return f"{len(diffs)} fine-tunes side by side; no one number is of all of them."
    order = sorted(sizes, key=lambda name: -sizes[name].value)
    most, least = sizes[order[0]], sizes[order[-1]]
    if most.scope.still:
        return f"Nothing moved in any of them: {_and([*diffs])}."
    if most.text == least.text:
        told = f"{most.text} ({most.kind}{_over_all([*sizes.values()])})"
        return f"{_and([*sizes])} moved alike: {told}."
    first = [name for name, size in sizes.items() if size.text == most.text]
    return f"{_and(first)} moved most, {_against(most, least, order[-1])} ({most.kind})."


def _against(most: _Size, least: _Size, name: str) -> str:
    """Say how much more than the least that is, and both numbers."""
    numbers = f"{most.text} over {most.scope.words}"
    if least.scope.still:
        return f"and nothing moved in {name}: {numbers}"
    ratio = times(most.value / least.value) if least.value else ""
    more = "more than" if ratio in ("", "1 ×") else f"{ratio} as much as"
    return f"{more} {name}: {numbers} against {least.text} over {least.scope.words}"


def _over_all(sizes: Sequence[_Size]) -> str:
    """Say over what several numbers are, where that is one thing."""
    words = {size.scope.words for size in sizes}
    return f" over {words.pop()}" if len(words) == 1 else " over what moved of each"


def _apart(diffs: Mapping[str, Diff]) -> str:
    """Say that diffs are of other tensors, where a selection stands beside another or a whole."""
    selected = {name: one.about["selection"] for name, one in diffs.items() if _is_part(one)}
    if not selected or len({_compared(one) for one in diffs.values()}) == 1:
        return ""
    parts = [
        f"{name} is of {one.get('tensors', 0):,} tensors selected of {one.get('of', 0):,}"
        for name, one in selected.items()
    ]
    rest = "" if len(parts) == len(diffs) else "; the rest is whole"
    whose = counted(len(diffs), "fine-tune")
    return f"{whose} side by side, of other tensors and so not ranked: {', '.join(parts)}{rest}."


def _is_part(diff: Diff) -> bool:
    return bool(diff.about.get("selection"))


def _compared(diff: Diff) -> frozenset[str]:
    columns = diff.columns
    return frozenset(columns["tensor"][among(columns["status"], PAIRED)].tolist())


def _size(diff: Diff) -> _Size | None:
    """Return how far a diff moved; None where no number of everything is given."""
    whole, of = ({} if withheld(diff) else diff.whole("moved")), scope(diff, "moved")
    for name, kind in (("relative_norm", "‖ΔW‖/‖W‖"), ("rms_change", "RMS of an entry")):
        if name in whole and of.counted:
            return _Size(whole[name], number(whole[name], 3), kind, of)
    return None


def _and(names: Sequence[str]) -> str:
    return " and ".join([part for part in (", ".join(names[:-1]), names[-1]) if part])
