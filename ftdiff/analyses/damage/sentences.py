"""The sentence of each kind of damage, with its rows and its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.analyses.damage.kinds import Damage
from ftdiff.analyses.finding import counted, listed
from ftdiff.comparison.cut import noun
from ftdiff.comparison.frame import floats
from ftdiff.comparison.result import Diff
from ftdiff.numbers import signed
from ftdiff.tensors import Array


@dataclass(frozen=True, eq=False)
class Told:
    """A whole sentence, the rows of the diff that it is of, and plain values behind it."""

    message: str
    rows: Array
    evidence: Mapping[str, Any]


def tell(diff: Diff, damage: Damage, kind: str) -> Told | None:
    """Say what is broken in this way; None where nothing is."""
    rows = np.flatnonzero(damage.kinds[kind])
    return _SENTENCES[kind](diff, damage, rows) if len(rows) else None


def _nonfinite(diff: Diff, damage: Damage, rows: Array) -> Told:
    broken = floats(diff.columns["nonfinite_tuned"])[rows]
    entries = int(broken.sum())
    hold = "holds" if len(rows) == 1 else "hold"
    message = f"{_named(diff, rows)} {hold} NaN or Inf, in {counted(entries, 'entry', 'entries')}"
    empty = rows[broken >= floats(diff.columns["numel"])[rows]]
    if len(empty):
        every = "it has" if len(rows) == 1 else f"{len(empty):,} of them have"
        message += f"; {every} no other entry, and no change could be measured"
    return Told(f"{message}.", rows, {"entries": entries, "whole": len(empty)})


def _nonfinite_base(diff: Diff, damage: Damage, rows: Array) -> Told:
    entries = int(floats(diff.columns["nonfinite_base"])[rows].sum())
    hold = "holds" if len(rows) == 1 else "hold"
    message = (
        f"{_named(diff, rows)} {hold} NaN or Inf in the base, in "
        f"{counted(entries, 'entry', 'entries')}, which no sum counts."
    )
    return Told(message, rows, {"entries": entries})


def _unreadable(diff: Diff, damage: Damage, rows: Array) -> Told:
    reasons = diff.about.get("unreadable", {})
    first = next(iter(reasons.values()), "no reason is known")
    message = f"{_named(diff, rows)} could not be read: {first}."
    return Told(message, rows, {"reasons": dict(reasons)})


def _zeroed(diff: Diff, damage: Damage, rows: Array) -> Told:
    be, it = ("is", "it is") if len(rows) == 1 else ("are", "they are")
    message = f"{_named(diff, rows)} {be} zero in every entry; in the base {it} not."
    return Told(message, rows, {})


def _flipped(diff: Diff, damage: Damage, rows: Array) -> Told:
    cosine = damage.cosine[rows]
    have = "has its" if len(rows) == 1 else "have their"
    message = (
        f"{_named(diff, rows)} {have} sign flipped: the cosine with the base is "
        f"{_span(cosine, 'z.3f')}."
    )
    return Told(message, rows, {"cosine": _plain(cosine)})


def _replaced(diff: Diff, damage: Damage, rows: Array) -> Told:
    cosine, chance = damage.cosine[rows], damage.chance[rows]
    it, was = ("it", "was") if len(rows) == 1 else ("they", "were")
    message = (
        f"Nothing of the base's direction is left in {_named(diff, rows)}: {it} {was} initialised "
        f"anew, or taken from elsewhere (cosine {_span(cosine, 'z.3f')}; that of independent "
        f"entries is ±{float(chance.max()):.2g})."
    )
    return Told(message, rows, {"cosine": _plain(cosine), "chance": _plain(chance)})


def _pruned(diff: Diff, damage: Damage, rows: Array) -> Told:
    share = damage.zeroed_share[rows]
    be = "is" if len(rows) == 1 else "are"
    message = (
        f"{_named(diff, rows)} {be} pruned: {_span(100 * share, '.3g')}% of the entries were set "
        "to zero, and the others are the base's."
    )
    return Told(message, rows, {"share": _plain(share)})


def _multiplied(diff: Diff, damage: Damage, rows: Array) -> Told:
    scale = damage.scale[rows]
    be, its = ("is", "its") if len(rows) == 1 else ("are", "their")
    message = (
        f"{_named(diff, rows)} {be} multiplied by {_span(scale, '.4g')}, with nothing else "
        f"changed in {its} entries."
    )
    return Told(message, rows, {"scale": _plain(scale)})


def _overwritten(diff: Diff, damage: Damage, rows: Array) -> Told:
    size = damage.relative[rows]
    it_was, its = ("it was", "its") if len(rows) == 1 else ("they were", "their")
    message = (
        f"{_named(diff, rows)} moved by {_span(size, '.3g')} times {its} own norm, and the median "
        f"matrix by {damage.usual:.3g} of its: {it_was} fitted anew, or nearly zero in "
        "the base."
    )
    return Told(message, rows, {"relative_norm": _plain(size), "median": damage.usual})


_SENTENCES: Mapping[str, Callable[[Diff, Damage, Array], Told]] = {
    "unreadable": _unreadable,
    "nonfinite": _nonfinite,
    "nonfinite-base": _nonfinite_base,
    "zeroed": _zeroed,
    "sign-flipped": _flipped,
    "replaced": _replaced,
    "pruned": _pruned,
    "multiplied": _multiplied,
    "overwritten": _overwritten,
}


def _named(diff: Diff, rows: Array) -> str:
    names = [str(name) for name in diff.columns["tensor"][rows]]
    return f"{counted(len(rows), noun(diff))} ({listed(names)})"


def _span(values: Array, form: str) -> str:
    """Write numbers as one, or from the least to the most."""
    ends = dict.fromkeys(signed(float(end), form) for end in (values.min(), values.max()))
    return " to ".join(ends)


def _plain(values: Array) -> list[float]:
    return [float(value) for value in values[:1000]]
