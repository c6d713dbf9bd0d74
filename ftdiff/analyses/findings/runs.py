"""Runs of layers that move more, or less, than those before and after: peaks and dips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings import nulls
from ftdiff.analyses.findings.curves import ALL, LEAST, Curve, components, curves, edges, percent
from ftdiff.analyses.findings.groups import TEST, groups_of, is_run
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid

#: Runs are one pattern where they share so much of what they cover.
_OVERLAP = 0.5
#: A smooth hump stands less above the rest on average than at its top: by so much of it.
_AVERAGE = 2 / 3


@rule(
    "depth-peak",
    kind="depth",
    null=(
        "the best run of layers, simulated under the grid's own AR(1), Benjamini-Hochberg: q < 0.01"
    ),
    power="a third of the layers 60 % higher: 20 % of models of 8 layers, 93 % of 24, all of 96",
)
def depth_peak(
    grid: Grid, *, q: float = 0.01, percent: float = 15.0, layers: int = LEAST
) -> Iterator[Finding]:
    """Say which run of layers moves more or less than the rest, and in which components."""
    tested = curves(grid, layers)
    bumps = [one for one in tested if is_bump(one, q=q, percent=percent)]
    common = next((one for one in bumps if one.name == ALL), None)
    alone = components(bumps)
    if common is not None:
        alike = [one for one in components(tested) if _alike(one, common)]
        if len(alike) >= 0.8 * len(components(tested)):
            yield _all(grid, common, alike)
            alone = [one for one in alone if not (_alike(one, common) and _near(one, common))]
    while alone:
        members = [one for one in alone if _near(one, alone[0])]
        alone = [one for one in alone if not _near(one, alone[0])]
        rest = [one for one in components(tested) if one not in members and one not in alone]
        yield _several(grid, members, rest)


def is_bump(curve: Curve, *, q: float = 0.01, percent: float = 15.0) -> bool:
    """Whether a run that is neither a step nor a line stands apart by enough."""
    if curve.step or not is_run(curve, q=q) or groups_of(curve):
        return False
    least = np.log1p(percent / 100)
    return bool(abs(curve.difference()) >= _AVERAGE * least and curve.span() >= least)


def _near(one: Curve, other: Curve) -> bool:
    """Whether two runs differ from the rest in one direction and in much the same layers."""
    mine, theirs = (set(curve.layers[slice(*curve.run)]) for curve in (one, other))
    overlap = len(mine & theirs) / len(mine | theirs)
    return one.difference() * other.difference() > 0 and overlap >= _OVERLAP


def _alike(one: Curve, common: Curve) -> bool:
    """Whether a component differs in the run of all as all do, by a third of it or more."""
    if one.layers != common.layers:
        return False
    return one.difference(common.run) / common.difference() >= 1 / 3


def _all(grid: Grid, common: Curve, members: Sequence[Curve]) -> Finding:
    ordered = sorted(members, key=lambda one: one.difference(common.run))
    low, high = ((one.name, one.difference(common.run)) for one in (ordered[0], ordered[-1]))
    message = (
        f"All components{grid.where} move {_amount(common.difference())} in "
        f"{_layers(common, common.run)} than in the others"
    )
    if _signed("", low[1]) != _signed("", high[1]):
        message += f" ({_signed(*low)} to {_signed(*high)})"
    message += "."
    return _finding(grid, message, [common, *members], common.run)


def _several(grid: Grid, passed: Sequence[Curve], rest: Sequence[Curve]) -> Finding:
    members = [*passed, *_whole_block(passed, rest, _joint(passed))]
    run = _joint(members)
    members = sorted(members, key=lambda one: -abs(one.difference(run)))
    place = _layers(members[0], run)
    if len(members) == 1:
        named = members[0].name
        size = f"{_amount(members[0].difference(run))} in {place} than in its other layers"
        message = f"{named}{grid.where} moves {size}."
    else:
        parts = [_signed(one.name, one.difference(run)) for one in members]
        most = "most" if members[0].difference(run) > 0 else "least"
        message = (
            f"{_subject(grid, members)}{grid.where} moved {most} in {place}: {_and(parts)} against "
            "the median of the other layers."
        )
    return _finding(grid, message, members, run)


def _whole_block(
    passed: Sequence[Curve], rest: Sequence[Curve], run: tuple[int, int]
) -> list[Curve]:
    """Return what else a block has, where two of it passed and all others do half as much."""
    blocks = {one.name.partition(".")[0] for one in passed}
    others = [one for one in rest if one.name.partition(".")[0] in blocks]
    least = np.median([one.difference(run) for one in passed]) / 2
    alike = all(
        one.layers == passed[0].layers and one.difference(run) / least >= 1 for one in others
    )
    return others if len(blocks) == 1 and len(passed) > 1 and alike else []


def _joint(members: Sequence[Curve]) -> tuple[int, int]:
    """Return the best run of the members' mean; of one, or of other layers, the first's."""
    first = members[0]
    if any(one.layers != first.layers for one in members):
        return first.run
    mean = np.mean([one.log - one.log.mean() for one in members], axis=0)
    shapes = nulls.shapes(len(mean), first.phi)
    scores = shapes.scores(nulls.clipped(mean)[None])[0][1:]
    inner = (shapes.runs[:, 0] > 0) & (shapes.runs[:, 1] < len(mean))
    start, end = shapes.runs[np.where(inner, scores, -1.0).argmax()]
    return edges(mean, int(start), int(end))


def _subject(grid: Grid, members: Sequence[Curve]) -> str:
    """Name the block that the members are, or each of them."""
    names = {one.name for one in members}
    for block, words in (("attn", "Attention"), ("mlp", "The MLP")):
        if names == {name for name in map(str, grid.values) if name.startswith(f"{block}.")}:
            return words
    return _and([one.name for one in members])


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _layers(curve: Curve, run: tuple[int, int]) -> str:
    return f"layers {curve.layers[run[0]]}–{curve.layers[run[1] - 1]}"


def _amount(log: float) -> str:
    return f"{abs(percent(log)):.0f}% {'more' if log > 0 else 'less'}"


def _signed(name: str, log: float) -> str:
    return f"{name} {percent(log):+.0f}%".replace("-", "−")


def _finding(grid: Grid, message: str, members: Sequence[Curve], run: tuple[int, int]) -> Finding:
    first = members[0]
    inside = first.layers[slice(*run)]
    rows = [
        {
            "component": one.name, "percent": percent(one.difference(run)),
            "top": one.layers[int(np.argmax(np.sign(one.difference()) * one.log))],
            "p": one.run_p, "q": one.run_q,
        }
        for one in members
    ]  # fmt: skip
    found = evidence(
        runs=rows, first=inside[0], last=inside[-1], phi=first.phi, test=TEST, stack=grid.stack
    )
    named = [one.name for one in members if one.name != ALL]
    cells = tuple(cell for name in named for cell in grid.cells(name) if cell[0] in inside)
    return Finding("depth-peak", "note", message, found, cells)
