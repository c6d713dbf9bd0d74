"""What a card's section says below its first sentence; what is cut is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftdiff.analyses.finding import counted, gravest_first, listed
from ftdiff.comparison.result import Diff
from ftdiff.errors import one_line
from ftdiff.reports.document import Document

#: How the sentence on the scale begins, which a claim does not hold.
SCALED = "It is scaled by"
_CAUTIONS, _FINDINGS, _TARGETS = 6, 5, 12


def largest(every: Sequence[Mapping[str, Any]], rows: int | None) -> list[Mapping[str, Any]]:
    """Return the components with the largest share of the change, in their own order."""
    ranked = sorted(range(len(every)), key=lambda i: -(every[i]["energy_share"] or 0.0))
    return [every[i] for i in sorted(ranked[:rows])]


def left_out(shown: int, count: int) -> str:
    """Say which components the table leaves out, if any."""
    told = f"Shown are the {shown} of {count} components with the largest share of the change."
    return told if shown < count else ""


def sentences(diff: Diff, report: Document) -> Iterator[str]:
    """Say what the adapter is, what was found, and what does not fit."""
    yield from _adapter(diff)
    yield from report.structure
    told = {*report.structure, *report.cautions}
    # the first sentence has the size, and what could not have been seen is no finding for a card
    silent = ("regime", "depth-power")
    found = [
        one.message
        for one in gravest_first(report.findings)
        if one.rule not in silent and one.message not in told
    ]
    yield from _few(found, _FINDINGS, "finding")
    yield from _few(report.cautions, _CAUTIONS, "caution")


def _few(sentences: Sequence[str], most: int, what: str) -> Iterator[str]:
    """Yield the first sentences, and say how many more there are."""
    yield from sentences[:most]
    if rest := len(sentences[most:]):
        command = "findings" if what == "finding" else "compare"
        yield f"And {counted(rest, f'more {what}')}, as ftdiff {command} prints."


def _adapter(diff: Diff) -> Iterator[str]:
    """Say an adapter's rank, α and targets, as its configuration has them, and its scale."""
    about = diff.about
    if about.get("kind") in (None, "full", "delta"):
        return
    told = about.get("adapter", {})
    facts = [
        f"{word} {one_line(told[key])}"
        for key, word in (("r", "rank"), ("lora_alpha", "α"))
        if isinstance(told.get(key), int | float)
    ]
    targets = told.get("target_modules")
    if isinstance(targets, list) and targets:
        facts.append(f"on {listed([one_line(name) for name in targets], _TARGETS)}")
    elif isinstance(targets, str):
        facts.append(f"on what matches {one_line(targets)}")
    if facts:
        yield f"Its configuration says: {', '.join(facts)}."
    origins = Counter(one_line(origin) for origin in about.get("scalings", {}).values())
    if origins:
        parts = [f"{origin} ({counted(n, 'tensor')})" for origin, n in origins.most_common(3)]
        more = f"; and {counted(len(origins) - 3, 'other')}" if len(origins) > 3 else ""
        yield f"{SCALED} {'; '.join(parts)}{more}."
