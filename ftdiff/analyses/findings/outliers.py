"""Components and layers that stand apart from the rest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid, robust_z


@rule("outlier-component", kind="structure")
def outlier_component(
    grid: Grid, *, z: float = 3.5, consistency: float = 0.8, ratio: float = 1.15, layers: int = 4
) -> Iterator[Finding]:
    """Say which component is apart: robust z of its median, and first in most layers."""
    log = grid.full(layers)
    if log.shape[1] < 4 or not len(log):
        return
    medians = log.median()
    scores = robust_z(medians.to_numpy())
    for component, score in zip(log.columns, scores, strict=True):
        if abs(score) < z:
            continue
        sign = 1.0 if score > 0 else -1.0
        first = float(((sign * log).idxmax(axis=1) == component).mean())
        times = float(np.exp(medians[component] - medians.drop(component).median()))
        if first < consistency or max(times, 1 / times) < ratio:
            continue
        most = "moves most" if score > 0 else "moves least"
        message = (
            f"{component} is the outlier component{grid.where}: it {most} in {first:.0%} of "
            f"{len(log)} layers, {times:.3g} times the others' median (robust z {score:+.1f})."
        )
        found = evidence(
            component=component, z=score, ratio=times, consistency=first, stack=grid.stack
        )
        yield Finding("outlier-component", "note", message, found, grid.cells(component))


@rule("outlier-layer", kind="structure")
def outlier_layer(
    grid: Grid, *, z: float = 6.0, consistency: float = 0.8, ratio: float = 1.5, layers: int = 8
) -> Iterator[Finding]:
    """Say which layer is apart in most of its components: robust z of its median."""
    log = grid.full(layers)
    if log.shape[1] < 2 or not len(log):
        return
    centred = log - log.median()
    profile = centred.median(axis=1)
    for layer, score in zip(log.index, robust_z(profile.to_numpy()), strict=True):
        if abs(score) < z:
            continue
        sign = 1.0 if score > 0 else -1.0
        first = float(((sign * centred).idxmax() == layer).mean())
        times = float(np.exp(profile[layer] - profile.drop(layer).median()))
        if first < consistency or max(times, 1 / times) < ratio:
            continue
        message = (
            f"Layer {layer}{grid.where} stands apart: it moves {times:.3g} times as much as the "
            f"median layer (robust z {score:+.1f}) and is {'highest' if sign > 0 else 'lowest'} in "
            f"{first:.0%} of {log.shape[1]} components."
        )
        found = evidence(layer=layer, z=score, ratio=times, consistency=first, stack=grid.stack)
        cells = tuple((layer, name) for name in log.columns)
        yield Finding("outlier-layer", "note", message, found, cells)
