"""Components and layers that stand apart from the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.curves import holds
from ftdiff.analyses.findings.nulls import SEGMENT, student
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid, robust_z
from ftdiff.tensors import Array

TEST = "robust z of the median, and Grubbs' test of the components' levels"


#: The most layers that stand apart together.
_LAYERS = 3


@dataclass(frozen=True)
class Outlier:
    """A component whose level is apart: first in so many layers, so many times the others'."""

    component: str
    z: float
    ratio: float
    consistency: float
    p: float


@rule(
    "outlier-component",
    kind="structure",
    null="levels drawn alike: Grubbs' test, p < 0.02, and a robust z of 3.5",
    power="one component × 2: all models, from 8 layers on",
)
def outlier_component(
    grid: Grid, *, z: float = 3.5, consistency: float = 0.8, ratio: float = 1.15, p: float = 0.02,
    layers: int = 4,
) -> Iterator[Finding]:  # fmt: skip
    """Say which component is apart, by more than levels are that are drawn alike."""
    limits = {"z": z, "consistency": consistency, "ratio": ratio, "p": p}
    for one in outlying(grid, layers=layers, **limits):
        most = "moves most" if one.z > 0 else "moves least"
        message = (
            f"{one.component} is the outlier component{grid.where}: it {most} in "
            f"{one.consistency:.0%} of {len(grid.full(layers))} layers, {one.ratio:.3g} times the "
            "median of the others."
        )
        found = evidence(**one.__dict__, test=TEST, stack=grid.stack)
        yield Finding("outlier-component", "note", message, found, grid.cells(one.component))


@lru_cache(maxsize=16)
def outlying(
    grid: Grid, *, z: float = 3.5, consistency: float = 0.8, ratio: float = 1.15, p: float = 0.02,
    layers: int = 4,
) -> tuple[Outlier, ...]:  # fmt: skip
    """Return the component that is apart from the others, if there is one."""
    log = grid.full(layers)
    if log.shape[1] < 4 or not len(log):
        return ()
    medians = log.median()
    levels = medians.to_numpy()
    at = int(np.argmax(np.abs(levels - levels.mean())))
    score, component = float(robust_z(levels)[at]), str(log.columns[at])
    sign = 1.0 if score > 0 else -1.0
    first = float(np.mean((sign * log.to_numpy()).argmax(axis=1) == at))
    times = float(np.exp(levels[at] - np.median(np.delete(levels, at))))
    chance = grubbs(levels)
    if abs(score) < z or first < consistency or max(times, 1 / times) < ratio or chance >= p:
        return ()
    if not holds((log.iloc[:, at] - log.drop(columns=component).median(axis=1)).to_numpy()):
        return ()
    return (Outlier(component, score, times, first, chance),)


def grubbs(levels: Array) -> float:
    """Return the chance that the farthest of normal values is as far from their mean (1950).

    A spread of 2 % is taken to be in the levels, as in `robust_z`.
    """
    m = len(levels)
    spread_sq = max(float(np.var(levels, ddof=1)), 0.02**2)
    g_sq = float(np.abs(levels - levels.mean()).max() ** 2 / spread_sq)
    most = (m - 1) ** 2 / m
    if g_sq >= most * (1 - 1e-12):
        return 0.0
    t_sq = g_sq * m * (m - 2) / ((m - 1) ** 2 - g_sq * m)
    return min(1.0, m * float(student(t_sq, m - 2)))


@rule(
    "outlier-layer",
    kind="structure",
    null="a robust z of 6 of the layers' medians, and first in 80 % of the components",
    power="from 1.5 times the median layer on; not tabled",
)
def outlier_layer(
    grid: Grid, *, z: float = 6.0, consistency: float = 0.8, ratio: float = 1.5, layers: int = 8
) -> Iterator[Finding]:
    """Say which layers, up to three, are apart in most components: robust z of their medians."""
    log = grid.full(layers)
    if log.shape[1] < 2 or not len(log):
        return
    centred = (log - log.median()).to_numpy()
    profile = np.median(centred, axis=1)
    scores = robust_z(profile)
    for sign in (1.0, -1.0):
        places = np.flatnonzero(sign * scores >= z)
        if not 1 <= len(places) <= _LAYERS or _neighbours(places):
            continue
        ranks = (-sign * centred).argsort(axis=0).argsort(axis=0)
        first = float((ranks[places].max(axis=0) < len(places)).mean())
        times = float(np.exp(np.median(profile[places]) - np.median(np.delete(profile, places))))
        if first < consistency or max(times, 1 / times) < ratio:
            continue
        names = [log.index[int(place)] for place in places]
        one = len(names) == 1
        message = (
            f"Layer{'' if one else 's'} {' and '.join(map(str, names))}{grid.where} "
            f"stand{'s' if one else ''} apart: {'it moves' if one else 'they move'} {times:.3g} "
            f"times as much as the median layer, and {'is' if one else 'are'} the "
            f"{'highest' if sign > 0 else 'lowest'} in {first:.0%} of {log.shape[1]} components."
        )
        found = evidence(
            layer=names[0], layers=names, z=[scores[place] for place in places], ratio=times,
            consistency=first, stack=grid.stack,
        )  # fmt: skip
        cells = tuple((layer, name) for layer in names for name in log.columns)
        yield Finding("outlier-layer", "note", message, found, cells)


def _neighbours(places: Array) -> bool:
    """Whether layers are so many neighbours that they are a run, which has its own rule."""
    return len(places) >= SEGMENT and bool((np.diff(places) == 1).all())
