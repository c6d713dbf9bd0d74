"""Spans of tiles that changes are cut into: the tasks of a plan, and their sums on a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from ftdiff.comparison import executors, journal, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import Change, Plan
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import TILE, adjacent
from ftdiff.errors import attempt
from ftdiff.tensors import bounds

#: Changes of a plan from which on a journal leaves out those that read fewer bytes.
MANY, SMALL = 10_000, 1 << 18


@dataclass(frozen=True)
class Span:
    """A range of one change's tiles, the bytes that it reads, and whether a journal keeps it."""

    index: int
    change: Change
    tiles: range
    size: int
    kept: bool = True

    @property
    def asked(self) -> Change | None:
        """What its sums are kept under, by ranges of its tiles."""
        return self.change if self.kept else None

    @property
    def looked_up(self) -> bool:
        """Whether it is known that they are not kept: what is, was left out of the spans."""
        return True


def kept(plan: Plan) -> tuple[list[Moments | str], list[list[range]]]:
    """Return what a journal has of each change's sums, and which of its tiles are left."""
    found: list[Moments | str] = []
    left: list[list[range]] = []
    book = journal.current()
    for change in plan.changes:
        tiles = change.recipe.tiles(change.base)
        known: list[Moments] = []
        rest = [range(tiles)]
        if book is not None and _is_kept(plan, change):
            known, rest = journal.parts(book, measure_span, change, tiles)
        found.append(sum(known, Moments()))
        left.append(rest)
    if book is not None:
        book.whole(sum(not rest for rest in left))
    return found, left


def _is_kept(plan: Plan, change: Change) -> bool:
    """Say whether a journal keeps a change: of very many, what is small is measured as quickly."""
    return len(plan.changes) <= MANY or change.size >= SMALL


def measure_span(span: Span) -> Moments | str:
    """Measure a span on a worker: moments, or the complaint where it cannot be read."""
    return moments(span.change, span.tiles)


def measure_spans(spans: Sequence[Span]) -> list[Moments | str]:
    """Measure spans on a worker: what is small and lies side by side in one call."""
    pairs = [(span.change.recipe, span.change.base) for span in spans]
    outcomes: list[Moments | str] = []
    for run in adjacent.runs(pairs):
        found: Sequence[Moments | str] | str = ""
        if len(run) > 1:
            found = attempt("", partial(adjacent.moments, [pairs[i] for i in run]))
        if isinstance(found, str):  # one of them cannot be read, and says so by itself
            found = [measure_span(spans[i]) for i in run]
        outcomes += found
    return outcomes


#: Measuring spans.
SUMS: Work[Span, Moments | str] = Work(
    "sums",
    measure_span,
    name=attrgetter("change.address.name"),
    cost=attrgetter("size"),
    several=measure_spans,
    memory=lambda span: windows.window(span.change.base, span.change.recipe),
)


def moments(change: Change, tiles: range | None = None) -> Moments | str:
    """Measure tiles of a change, all of them by default, or say why they cannot be read."""
    return attempt(change.address.name, lambda: _summed(change, tiles))


def _summed(change: Change, tiles: range | None) -> Moments:
    if tiles is None:
        return change.recipe.moments(change.base)
    if len(tiles) == 1:
        return change.recipe.moments(change.base, tiles)
    total = Moments()
    step = _NEAR_TILES
    if each := windows.made(change.base, change.recipe):
        step = max(1, min(_MADE_TILES, bounds.held().share // each))
    for start in range(tiles.start, tiles.stop, step):
        near = range(start, min(start + step, tiles.stop))
        total += change.recipe.moments(change.base, near)
    return total


#: Tiles measured at a time, so that pages are given back on far workers too.
_NEAR_TILES = max(1, executors.NEAR_BYTES // (2 * TILE))
#: The same where values are made from codes: they and their parts are memory of each thread.
_MADE_TILES = max(1, _NEAR_TILES // 8)


def tasks_of(plan: Plan, left: Sequence[Sequence[range]], limit: int) -> Iterator[list[Span]]:
    """Cut large changes, bundle small ones: tasks of about `limit` bytes in the order of files."""
    task: list[Span] = []
    size = 0
    for span in sorted(_spans(plan, left, limit), key=_place):
        task.append(span)
        size += span.size
        if size >= limit:
            yield task
            task, size = [], 0
    if task:
        yield task


def _spans(plan: Plan, left: Sequence[Sequence[range]], limit: int) -> Iterator[Span]:
    for index, (change, rest) in enumerate(zip(plan.changes, left, strict=True)):
        each = max(1, change.size // change.recipe.tiles(change.base)) if rest else 1
        step = max(1, limit // each)
        for tiles in rest:
            for start in range(tiles.start, tiles.stop, step):
                stop = min(start + step, tiles.stop)
                size = each * (stop - start)
                yield Span(index, change, range(start, stop), size, _is_kept(plan, change))


def _place(span: Span) -> tuple[str, int, int, str]:
    """Return where a span lies in its base: what several changes read there is read together."""
    base = span.change.base
    path, offset = getattr(base, "path", ""), getattr(base, "offset", 0)
    return str(path), int(offset), span.tiles.start, span.change.address.name
