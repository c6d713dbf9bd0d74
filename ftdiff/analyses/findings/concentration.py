"""Where the squared change sits: in few layers, or in more than a component's share of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ftdiff.analyses.finding import Finding, counted
from ftdiff.analyses.findings.curves import LEAST
from ftdiff.analyses.findings.doubt import drowned_share
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.frame import plain, rows_at
from ftdiff.comparison.grid import Grid
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import RESHAPED
from ftdiff.comparison.vocabulary_words import rows_said
from ftdiff.tensors import Array

#: Shuffles behind the chance of a concentration.
DRAWS = 499


@rule(
    "concentrated",
    kind="structure",
    null="499 shuffles of each component's layers, apart from each other: p < 0.01",
    power=(
        "said where half of the squares sits in a fifth of the layers, and Gini is 0.3 or more; "
        "what is milder is not claimed"
    ),
)
def concentrated(
    grid: Grid, *, gini: float = 0.3, p: float = 0.01, few: float = 0.2, layers: int = LEAST
) -> Iterator[Finding]:
    """Say in how few layers the squared change sits: Gini over layers, weighed by parameters."""
    kept = grid.full(layers)
    if not kept.size:
        return
    energy, params = _energy(grid, kept)
    observed = float(weighted_gini(energy.sum(axis=1), params.sum(axis=1)))
    if observed < gini:
        return
    chance = _chance(observed, energy / params, params)
    if chance >= p:
        return
    by_layer = pd.Series(energy.sum(axis=1), kept.index).sort_values(ascending=False)
    half = int((by_layer.cumsum() / by_layer.sum()).searchsorted(0.5)) + 1
    if half > few * len(kept):
        return
    effective = float(by_layer.sum() ** 2 / (by_layer**2).sum())
    names = [*by_layer.index[:half]]
    message = (
        f"The change{grid.where} is concentrated: half of its squares sits in "
        f"{counted(half, 'layer')} of {len(kept)} ({', '.join(map(str, sorted(names[:8])))}"
        f"{', …' if half > 8 else ''})."
    )
    found = evidence(
        gini=observed, layers=names, participation=effective, p=chance, stack=grid.stack
    )
    cells = tuple((layer, name) for layer in names for name in kept.columns)
    yield Finding("concentrated", "note", message, found, cells)


@rule("lift", kind="context", of="diff")
def lift(diff: Diff, *, times: float = 2.0, share: float = 0.1) -> Iterator[Finding]:
    """Say which components hold more of the squared change than of the parameters."""
    if drowned_share(diff) > 0.5:
        return
    rows = plain(diff.grouped("component", metrics=("energy_share", "lift")))
    whole = [row for row in rows if None not in row.values()]
    high = [row for row in whole if row["lift"] >= times and row["energy_share"] >= share]
    for row in sorted(high, key=lambda row: row["energy_share"], reverse=True):
        energy, held = row["energy_share"], row["energy_share"] / row["lift"]
        message = (
            f"{row['component']} holds {energy:.0%} of the squared change in {held:.1%} of the "
            f"parameters (lift {row['lift']:.3g})."
        )
        found = evidence(component=row["component"], energy_share=energy, lift=row["lift"])
        yield Finding("lift", "note", message, found)


@rule("new-rows", kind="context", of="diff")
def new_rows(diff: Diff) -> Iterator[Finding]:
    """Say which vocabularies grew, shrank or moved: rows of one side have no change to measure."""
    for row in plain(rows_at(diff.columns, diff.columns["status"] == RESHAPED)):
        shape = row["shape"]
        if shape is None or len(shape) < 2 or row["delta_sq"] is None:
            continue
        common, now = row["numel"] // (math.prod(shape[1:]) or 1), shape[0]
        new = f"{counted(now - common, 'row')} of it {'is' if now - common == 1 else 'are'} new"
        message = f"{row['tensor']}: {rows_said(row)}."
        if now != common:
            message = (
                f"{row['tensor']} has {now:,} rows, and {common:,} in common with the base: "
                f"{new if now > common else 'the base has more'}, and no ratio counts what only "
                "one side has."
            )
        found = evidence(tensor=row["tensor"], rows=now, common=common)
        yield Finding("new-rows", "note", message, found)


def weighted_gini(amounts: Array, weights: Array) -> Any:
    """Return Gini's coefficient of amounts over weights, (…, n): 0 where each has its share."""
    order = np.argsort(amounts / weights, axis=-1)
    held = np.take_along_axis(amounts, order, -1).cumsum(axis=-1)
    held = held / amounts.sum(axis=-1, keepdims=True)
    before = np.concatenate([np.zeros_like(held[..., :1]), held[..., :-1]], axis=-1)
    steps = np.take_along_axis(weights, order, -1) / weights.sum(axis=-1, keepdims=True)
    return 1 - (steps * (held + before)).sum(axis=-1)


def _chance(observed: float, density: Array, params: Array) -> float:
    """Return how often columns that are shuffled apart from each other are as concentrated."""
    rng = np.random.default_rng(len(density))
    stacked = np.broadcast_to(density, (DRAWS, *density.shape))
    drawn = (rng.permuted(stacked, axis=1) * params).sum(axis=2)
    null = weighted_gini(drawn, np.broadcast_to(params.sum(axis=1), drawn.shape))
    return float((1 + (null >= observed * (1 - 1e-12)).sum()) / (1 + DRAWS))


def _energy(grid: Grid, kept: pd.DataFrame) -> tuple[Array, Array]:
    """Return squared change and number of parameters; of a plain matrix, squares and ones."""
    if "delta_sq" in grid.twins:
        delta_sq, params = (
            grid.twins[name].loc[kept.index, kept.columns].to_numpy(np.float64)
            for name in ("delta_sq", "params")
        )
        return delta_sq, params
    squares = np.exp(2 * kept.to_numpy())
    return squares, np.ones_like(squares)
