"""Groups of neighbouring layers: change points by penalised least squares, on every curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.curves import ALL, LEAST, Curve, components, curves, percent
from ftdiff.analyses.findings.depth import is_line
from ftdiff.analyses.findings.nulls import SEGMENT
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

#: The most groups, and the difference of levels that makes two ends of a bump unequal.
MOST, UNEQUAL = 5, np.log(1.15)
TEST = "best run of layers, its null simulated under one AR(1), Benjamini-Hochberg over components"


def is_run(curve: Curve, *, q: float = 0.01) -> bool:
    """Whether a run of layers differs from the rest, and no line says as much."""
    return curve.run_q < q and not is_line(curve, q=q)


@rule(
    "layer-groups",
    kind="depth",
    null=(
        "the best run of layers, simulated under the grid's own AR(1), Benjamini-Hochberg: q < 0.01"
    ),
    power="a step of 60 %: 10 % of models of 8 layers, 73 % of 24, all of 48",
)
def layer_groups(
    grid: Grid, *, q: float = 0.01, r2: float = 0.4, percent: float = 15.0, layers: int = LEAST
) -> Iterator[Finding]:
    """Say which layers form groups: in all components, or in single ones."""
    grouped = [
        (curve, starts)
        for curve in curves(grid, layers)
        if is_run(curve, q=q)
        and (starts := groups_of(curve))
        and explained(curve, starts) >= r2
        and 100 * np.expm1(float(np.ptp(levels(curve, starts)))) >= percent
    ]
    common = next(((one, starts) for one, starts in grouped if one.name == ALL), None)
    if common is not None:
        alike = [one for one in components(curves(grid, layers)) if _alike(one, *common)]
        names = {one.name for one in alike}
        if len(alike) >= 0.8 * len(components(curves(grid, layers))):
            yield _all(grid, *common)
            grouped = [(one, starts) for one, starts in grouped if one.name not in names]
    for curve, starts in grouped:
        if curve.name != ALL:
            yield _one(grid, curve, starts)


def groups_of(curve: Curve) -> list[int]:
    """Return where groups begin, 0 the first; nothing where a bump says as much.

    A bump is a run whose two sides are level, or whose levels rise to it and fall from it.
    """
    starts = change_points(curve)
    heights = levels(curve, starts)
    if curve.step:
        return starts if len(starts) > 2 else [0, curve.run[0] or curve.run[1]]
    turns = np.count_nonzero(np.diff(np.sign(np.diff(heights))))
    level = abs(heights[-1] - heights[0]) < UNEQUAL
    return [] if len(starts) < 3 or (turns == 1 and (level or len(starts) > 3)) else starts


def change_points(curve: Curve) -> list[int]:
    """Return the beginnings of the groups that least squares prefers.

    Each group costs two parameters by Schwarz' criterion (1978); layers that resemble each other
    by φ count for (1 − φ) / (1 + φ) of as many independent ones.
    """
    n = len(curve.log)
    worth = n * (1 - curve.phi) / (1 + curve.phi)
    errors, begins = _fits(segment_costs(curve.log))
    errors = errors + n * 1e-4
    counts = np.arange(1, len(errors) + 1)
    count = int(np.argmin(worth * np.log(errors / n) + 2 * counts * np.log(worth + 1)))
    starts: list[int] = []
    end = n
    for k in range(count, -1, -1):
        end = int(begins[k][end])
        starts.insert(0, end)
    return starts


def segment_costs(curve: Array) -> Array:
    """Return the squared error of one mean for every run of layers.

    Returns
    -------
    Array
        (n + 1, n + 1): at [i, j] of layers i to j − 1; infinite where a run is too short.
    """
    n = len(curve)
    sums, squares = (np.concatenate([[0.0], x.cumsum()]) for x in (curve, curve**2))
    lengths = np.arange(n + 1)[None] - np.arange(n + 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = squares[None] - squares[:, None] - (sums[None] - sums[:, None]) ** 2 / lengths
    return np.where(lengths >= SEGMENT, np.maximum(costs, 0), np.inf)


def _fits(costs: Array) -> tuple[Array, list[Array]]:
    """Return the least error with 1, 2, … groups, and where the last of them begins, by its end."""
    reach, begins = costs[0], [np.zeros(len(costs), int)]
    least = [reach[-1]]
    while len(least) < MOST:
        through = reach[:, None] + costs
        begins.append(through.argmin(axis=0))
        reach = through.min(axis=0)
        least.append(reach[-1])
    return np.array(least), begins


def spans(starts: Sequence[int], n: int) -> list[tuple[int, int]]:
    """Return first place and one past the last of each group."""
    return list(pairwise([*starts, n]))


def levels(curve: Curve, starts: Sequence[int]) -> Array:
    """Return the median of each group, in logarithms."""
    return np.array([np.median(curve.log[a:b]) for a, b in spans(starts, len(curve.log))])


def explained(curve: Curve, starts: Sequence[int]) -> float:
    """Return the share of the variance that the groups' means explain."""
    parts = [curve.log[a:b] for a, b in spans(starts, len(curve.log))]
    within = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    whole = float(((curve.log - curve.log.mean()) ** 2).sum())
    return 1 - within / whole if whole else 0.0


def _alike(one: Curve, common: Curve, starts: Sequence[int]) -> bool:
    """Whether a component follows the levels of all, by a third of their size or more."""
    if one.layers != common.layers:
        return False
    theirs = levels(common, starts) - levels(common, starts).mean()
    mine = levels(one, starts) - levels(one, starts).mean()
    return float(mine @ theirs) >= float(theirs @ theirs) / 3


def _all(grid: Grid, curve: Curve, starts: Sequence[int]) -> Finding:
    values = grid.values.loc[list(curve.layers)].median(axis=1).to_numpy()
    told = _told(curve, starts, values)
    message = (
        f"Layers {', '.join(told)}{grid.where} form groups in all components "
        f"(in brackets the median {grid.metric.replace('_', ' ')})."
    )
    return _finding(grid, curve, starts, message)


def _one(grid: Grid, curve: Curve, starts: Sequence[int]) -> Finding:
    if len(starts) == 2:
        cut, size = starts[1], float(np.diff(levels(curve, starts))[0])
        more = "more" if size > 0 else "less"
        message = (
            f"{curve.name}{grid.where} moves {abs(percent(size)):.0f}% {more} from layer "
            f"{curve.layers[cut]} on than in layers {curve.layers[0]}–{curve.layers[cut - 1]}."
        )
    else:
        told = _told(curve, starts, np.exp(curve.log))
        message = (
            f"In {curve.name}{grid.where} layers {', '.join(told)} form groups (in brackets the "
            f"median {grid.metric.replace('_', ' ')})."
        )
    return _finding(grid, curve, starts, message)


def _told(curve: Curve, starts: Sequence[int], values: Array) -> list[str]:
    return [
        f"{curve.layers[a]}–{curve.layers[b - 1]} ({np.median(values[a:b]):.3g})"
        for a, b in spans(starts, len(curve.log))
    ]


def _finding(grid: Grid, curve: Curve, starts: Sequence[int], message: str) -> Finding:
    places = spans(starts, len(curve.log))
    found = evidence(
        component=curve.name, starts=[curve.layers[a] for a in starts[1:]],
        groups=[[curve.layers[a], curve.layers[b - 1]] for a, b in places],
        levels=[float(np.exp(x)) for x in levels(curve, starts)], r2=explained(curve, starts),
        p=curve.run_p, q=curve.run_q, phi=curve.phi, test=TEST, stack=grid.stack,
    )  # fmt: skip
    cells = grid.cells(curve.name) if curve.name != ALL else ()
    return Finding("layer-groups", "note", message, found, cells)
