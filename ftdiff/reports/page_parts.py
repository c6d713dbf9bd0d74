"""What a page of one or several diffs is made of: each diff with what is said and drawn of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ftdiff.comparison.model_names import public_name
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, one_line
from ftdiff.reports.document import Document, document
from ftdiff.reports.first_screen import FirstScreen, Told, first_screen
from ftdiff.reports.maps import Map, maps, shown_metric, shown_metrics
from ftdiff.reports.page_bounds import bounded
from ftdiff.reports.published import published, renaming
from ftdiff.reports.side_by_side import SideBySide, ranked, side_by_side
from ftdiff.tensors import Array

#: Diffs that stand side by side.
MOST = 6


@dataclass(frozen=True)
class Part:
    """One diff of a page.

    Attributes
    ----------
    name
        What it is called on the page, where it is one of several.
    diff, report, screen, drawn
        The diff, with names for the public, and what is said and drawn of it.
    listed
        The diff with the tensors alone that the page lists, where they are too many.
    """

    name: str
    diff: Diff
    report: Document
    screen: FirstScreen
    drawn: tuple[Map, ...]
    listed: Diff


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    Attributes
    ----------
    parts
        The diffs.
    metrics, metric
        The metrics that a reader may choose from, and the one shown first.
    maps
        The maps of all diffs, each by the number of its diff.
    screen
        What is seen first: of the only diff, or of all.
    side_by_side
        A small table of several diffs.
    still
        Says in the place of maps that nothing moved of what they would show; "" where they are.
    """

    parts: tuple[Part, ...]
    metrics: tuple[str, ...]
    metric: str
    maps: tuple[Map, ...]
    screen: FirstScreen
    side_by_side: SideBySide
    still: str = ""


def content(
    diffs: Sequence[Diff],
    metric: str = "relative_norm",
    *,
    report: Document | None = None,
    base_name: str | None = None,
    tuned_names: Sequence[str] = (),
) -> Content:
    """Draw up what a page shows.

    Parameters
    ----------
    diffs
        One, or up to `MOST` that are to be seen side by side on one scale.
    metric
        The metric shown first; where none of them has it, the first that one has.
    report
        `document(diff, words=True)` of the only one, where it is at hand.
    base_name, tuned_names
        What the base, and each fine-tune, are called instead of their folders.

    Raises
    ------
    BadCall
        There are none or too many, or not as many names as diffs.
    UnknownName
        There is no metric of that name.
    """
    if not 1 <= len(diffs) <= MOST:
        raise BadCall(f"a page is of one diff, or of 2 to {MOST} side by side, not of {len(diffs)}")
    if tuned_names and len(tuned_names) != len(diffs):
        raise BadCall(f"{len(tuned_names)} names for {len(diffs)} fine-tunes: give one for each")
    given: Sequence[str | None] = tuned_names or [None] * len(diffs)
    shown = [
        Diff(one.data, published(one.about, base_name, name))
        for one, name in zip(diffs, given, strict=True)
    ]
    names = _apart([one_line(public_name(one.about.get("tuned")), 60) for one in shown])
    if report is not None:
        report = _renamed(report, renaming(diffs[0].about, base_name, given[0]))
    parts = tuple(
        _part(i, name, one, report if len(diffs) == 1 else None, metric)
        for i, (name, one) in enumerate(zip(names, shown, strict=True))
    )
    metric = _first([shown_metric(one, metric) for one in shown], metric)
    every = dict.fromkeys(name for one in shown for name in shown_metrics(one))
    drawn = [
        replace(one, title=_title(one, part, parts), values=_with_all(one, every))
        for part in parts
        for one in part.drawn
    ]
    screen = parts[0].screen if len(parts) == 1 else _side_by_side(parts)
    still = _still(drawn)
    shown_maps = () if still else tuple(drawn)
    return Content(
        parts, tuple(every), metric, shown_maps, screen, side_by_side(_by_name(parts)), still=still
    )


def _still(drawn: Sequence[Map]) -> str:
    """Say that nothing moved of what all maps would show; "" where something did."""
    if not drawn or any(one.moved.any() for one in drawn):
        return ""
    weights = sum(int(one.tensors.sum()) for one in drawn)
    return f"Nothing moved in this map: all {weights:,} weights of it are the base's."


def _part(index: int, name: str, diff: Diff, report: Document | None, metric: str) -> Part:
    said = document(diff, words=True) if report is None else replace(report, about=diff.about)
    listed, said = bounded(diff, said, shown_metric(diff, metric))
    held = shown_metrics(diff)
    drawn = tuple(replace(one, of=index) for one in maps(diff, held)) if held else ()
    return Part(name, diff, said, first_screen(diff, said), drawn, listed)


def _renamed(report: Document, public: Callable[[str], str]) -> Document:
    """Put names for the public into a document that was drawn up with others."""
    return replace(
        report,
        title=public(report.title),
        cautions=tuple(map(public, report.cautions)),
        summary=tuple(map(public, report.summary)),
        findings=tuple(replace(one, message=public(one.message)) for one in report.findings),
        lists={
            heading: {name: public(said) for name, said in listed.items()}
            for heading, listed in report.lists.items()
        },
    )


def _title(one: Map, part: Part, parts: Sequence[Part]) -> str:
    if len(parts) == 1:
        return one.label
    return f"{part.name}: {one.label}" if one.label else part.name


def _with_all(one: Map, metrics: Iterable[str]) -> dict[str, Array]:
    """Return a map's values with every metric of the page: those of another diff have none here."""
    missing = np.full(one.doubtful.shape, np.nan)
    return {name: one.values.get(name, missing) for name in metrics}


def _first(found: Sequence[str], wanted: str) -> str:
    return wanted if wanted in found else found[0]


def _apart(names: Sequence[str]) -> list[str]:
    """Number names that come more than once."""
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _side_by_side(parts: Sequence[Part]) -> FirstScreen:
    """Say which of several moved most, and of each what its own page says first."""
    told = tuple(Told(part.screen.verdict.severity, part.screen.verdict.sentence) for part in parts)
    return FirstScreen(Told("note", ranked(_by_name(parts))), told, ())


def _by_name(parts: Sequence[Part]) -> dict[str, Diff]:
    return {part.name: part.diff for part in parts}
