"""What is left out of many fine-tunes: tensors apart, saved whole, unreadable, or not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.pairwise.alignment import Lineup
from ftdiff.analyses.pairwise.inner_products import Together
from ftdiff.errors import one_line

_SAVED = "saved whole: without a base its change is unknown"


def trouble(lineup: Lineup, found: Sequence[Together]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, by kind and fine-tune, the tensors and what is said of each.

    Kinds
    -----
    apart
        Tensors that could not be lined up, with the reason.
    saved
        Without a base, tensors that the file holds whole, with the reason.
    unreadable
        Tensors whose change could not be read, with the reason.
    nonfinite
        Tensors with entries that are NaN or Inf, with their number.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = {"unreadable": {}, "nonfinite": {}}
    for i, name in enumerate(lineup.names):
        for line, one in zip(lineup.lines, found, strict=True):
            if i in one.complaints:
                kinds["unreadable"].setdefault(name, {})[line.address.name] = one.complaints[i]
            if one.nonfinite[i]:
                broken = kinds["nonfinite"].setdefault(name, {})
                broken[line.address.name] = int(one.nonfinite[i])
    apart = {name: dict(tensors) for name, tensors in lineup.apart.items() if tensors}
    saved = {name: dict.fromkeys(held, _SAVED) for name, held in lineup.saved.items() if held}
    return {"apart": apart, "saved": saved, **kinds}


def troubles(about: Mapping[str, Any]) -> Iterator[Finding]:
    """Say in sentences what `trouble` recorded as saved whole, unreadable or not finite."""
    yield from _left_out(about)
    for name, tensors in about.get("unreadable", {}).items():
        first, why = next(iter(tensors.items()))
        yield Finding(
            "unreadable",
            "alarm",
            f"{name}: {counted(len(tensors), 'tensor')} could not be read and "
            f"{'is' if len(tensors) == 1 else 'are'} left out, first "
            f"{one_line(first, 200)}: {one_line(why, 400)}",
            {"name": name, "tensors": dict(tensors)},
        )
    for name, tensors in about.get("nonfinite", {}).items():
        first = one_line(next(iter(tensors)), 200)
        yield Finding(
            "nonfinite",
            "alarm",
            f"{name}: {counted(sum(tensors.values()), 'entry', 'entries')} of "
            f"{counted(len(tensors), 'tensor')} are NaN or Inf and count as unchanged, first in "
            f"{first}",
            {"name": name, "tensors": dict(tensors)},
        )


def _left_out(about: Mapping[str, Any]) -> Iterator[Finding]:
    """Say once which tensors of which fine-tunes have no change, for want of a base."""
    held = {name: [*tensors] for name, tensors in about.get("saved", {}).items()}
    names = [*dict.fromkeys(name for tensors in held.values() for name in tensors)]
    if names:
        alone = len(names) == 1
        yield Finding(
            "saved-without-base",
            "note",
            f"{counted(len(names), 'saved tensor')} {'is' if alone else 'are'} left out: without "
            f"a base {'its' if alone else 'their'} change is unknown "
            f"({listed([one_line(name, 200) for name in names])}; of {listed([*held])})",
            {"tensors": held},
        )
