"""Components that change places: from some layer on, the one that moved less moves more."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from ftdiff.analyses.finding import Finding, listed
from ftdiff.analyses.findings import nulls
from ftdiff.analyses.findings.curves import LEAST, components, curves
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

TEST = "both sides' whitened means, null simulated under one AR(1), Holm over all pairs"
#: Layers that each side of a crossing has, and draws of its null.
SIDE, DRAWS = 3, 20_000
_SEED = 20_240_918
#: Names that one sentence holds.
_MOST = 3
#: With fewer draws that turn, the tail is taken to begin where the last of them is.
_FEW = 20


@dataclass(frozen=True)
class Crossing:
    """`up` moves less than `down` before a layer, and more from it on.

    Attributes
    ----------
    before, after
        How many times as much as `up` does `down` move before, and `up` as `down` after.
    """

    up: str
    down: str
    layer: Hashable
    before: float
    after: float
    p: float


@rule(
    "crossing",
    kind="depth",
    null=(
        "both sides' whitened means, simulated under the grid's own AR(1), Holm over all pairs: p "
        "< 0.05"
    ),
    power="60 % on each side: 43 % of models of 8 layers, 87 % of 16, all of 48",
)
def crossing(
    grid: Grid, *, p: float = 0.05, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say which component overtakes which, and at which layer."""
    rest = list(crossings(grid, p, ratio, layers))
    while rest:
        names = [name for one in rest for name in (one.up, one.down)]
        mover = max(names, key=names.count)
        mine = [one for one in rest if mover in (one.up, one.down)]
        rest = [one for one in rest if mover not in (one.up, one.down)]
        yield _finding(grid, mover, mine)


def crossings(
    grid: Grid, p: float = 0.05, ratio: float = 1.15, layers: int = LEAST
) -> tuple[Crossing, ...]:
    """Return the pairs that change places once and for good, by more than chance."""
    return _kept(grid, p, ratio, layers)


@lru_cache(maxsize=16)
def _kept(grid: Grid, p: float, ratio: float, layers: int) -> tuple[Crossing, ...]:
    tested = components(curves(grid, layers))
    pairs = list(combinations([one.name for one in tested], 2))
    found = []
    for a, b in pairs:
        gap = (grid.log[a] - grid.log[b]).dropna()
        at = _turn(gap.to_numpy()) if len(gap) >= 2 * SIDE else 0
        if not at:
            continue
        before, after = (float(np.median(part)) for part in (gap[:at], gap[at:]))
        if abs(before) + abs(after) < np.log(ratio) or before * after >= 0:
            continue
        chance = _chance(gap.to_numpy(), at, tested[0].phi)
        up, down = (a, b) if after > 0 else (b, a)
        sizes = (float(np.exp(abs(before))), float(np.exp(abs(after))))
        found.append(Crossing(up, down, gap.index[at], *sizes, chance))
    every = np.array([one.p for one in found] + [1.0] * (len(pairs) - len(found)))
    adjusted = nulls.holm(every)
    return tuple(one for one, q in zip(found, adjusted, strict=False) if q < p)


def _turn(gap: Array) -> int:
    """Return the place from which the sign is the other one for good, 0 where there is none."""
    signs = np.sign(gap)
    turns = np.flatnonzero(np.diff(signs)) + 1
    if len(turns) != 1 or not signs.all() or not SIDE <= turns[0] <= len(gap) - SIDE:
        return 0
    return int(turns[0])


def _score(gap: Array, at: int, phi: float) -> float:
    """Return −log of the larger p of the two sides: both have to differ."""
    chances = [nulls.level_chance(part, phi)[1] for part in (gap[:at], gap[at:])]
    return float(-np.log(max(*chances, 1e-300)))


@lru_cache(maxsize=64)
def _null(n: int, phi: float) -> tuple[float, Array]:
    """Return the share of noise that turns once, and the scores of up to 400 that do."""
    noise = np.random.default_rng(_SEED + n).normal(size=(DRAWS, n))
    for i in range(1, n):
        noise[:, i] = phi * noise[:, i - 1] + np.sqrt(1 - phi**2) * noise[:, i]
    signs = noise > 0
    turns = (signs[:, 1:] != signs[:, :-1]).sum(axis=1) == 1
    at = (signs != signs[:, :1]).argmax(axis=1)
    once = np.flatnonzero(turns & (at >= SIDE) & (at <= n - SIDE))
    scores = [_score(noise[i], int(at[i]), phi) for i in once[:400]]
    return (1 + len(once)) / (1 + DRAWS), np.sort(np.array(scores))


def _chance(gap: Array, at: int, phi: float) -> float:
    """Return how often noise turns once with as clear sides; beyond the draws by its tail."""
    n = len(gap)
    share, scores = _null(n, phi)
    score = _score(gap, at, phi)
    if len(scores) < _FEW:
        beyond = max(score - float(scores[-1]), 0.0) if len(scores) else 0.0
        return share * float(np.exp(-beyond / 1.5))
    start = float(np.quantile(scores, 0.8))
    if score <= start:
        return share * float((scores >= score).mean())
    tail = scores[scores >= start] - start
    return share * 0.2 * float(np.exp(-(score - start) / max(tail.mean(), 1.0)))


def _finding(grid: Grid, mover: str, mine: list[Crossing]) -> Finding:
    parts = []
    for verb, rows in (
        ("overtakes", [(one.down, one.layer) for one in mine if one.up == mover]),
        ("falls behind", [(one.up, one.layer) for one in mine if one.down == mover]),
    ):
        if rows:
            at = {layer for _, layer in rows}
            where = "" if len(at) > 1 else f" at layer {rows[0][1]}"
            named = [name if where else f"{name} at layer {layer}" for name, layer in rows]
            parts.append(f"{verb} {listed(named, _MOST)}{where}")
    message = f"{mover}{grid.where} {' and '.join(parts)}."
    if len(mine) == 1:
        one = mine[0]
        message = (
            f"{one.up}{grid.where} overtakes {one.down} at layer {one.layer}: before, {one.down} "
            f"moves {one.before:.2f} times as much; from there on {one.up} {one.after:.2f} times."
        )
    found = evidence(
        component=mover, crossings=[one.__dict__ for one in mine], test=TEST, stack=grid.stack
    )
    names = dict.fromkeys(name for one in mine for name in (one.up, one.down))
    cells = tuple(cell for name in names for cell in grid.cells(name))
    return Finding("crossing", "note", message, found, cells)
