"""What went wrong with some of many fine-tunes: tensors apart, unreadable, or not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftdiff.analyses.finding import Finding, counted
from ftdiff.analyses.pairwise.alignment import Lineup
from ftdiff.analyses.pairwise.inner_products import Together
from ftdiff.errors import one_line


def trouble(lineup: Lineup, found: Sequence[Together]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, by kind and fine-tune, the tensors and what is said of each.

    Kinds
    -----
    apart
        Tensors that could not be lined up, with the reason.
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
    return {"apart": apart, **kinds}


def troubles(about: Mapping[str, Any]) -> Iterator[Finding]:
    """Say in sentences what `trouble` recorded as unreadable or not finite."""
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
