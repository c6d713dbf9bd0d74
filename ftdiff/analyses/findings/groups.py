"""Groups of neighbouring layers: change points of the rows by penalised least squares."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.depth import LEAST
from ftdiff.analyses.findings.nulls import DRAWS, orders, p_value
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

#: The least number of layers in a group, and the most groups.
SEGMENT, MOST = 3, 5
#: Floats that one batch of permutations may hold.
_ROOM = 4_000_000


@rule("layer-groups", kind="depth")
def layer_groups(
    grid: Grid, *, p: float = 0.01, r2: float = 0.4, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say which runs of layers form groups, unless a line with depth does as well."""
    log = grid.full(max(layers, 2 * SEGMENT))
    if not log.size:
        return
    rows = (log - log.mean()).to_numpy()
    if not (rows**2).sum() > 1e-12 * rows.size:  # even to rounding
        return
    costs = segment_costs(rows[None])[0]
    best, cuts = _best(costs, rows)
    explained = 1 - best[len(cuts)] / best[1]
    means = [rows[a:b].mean() for a, b in _spans(cuts, len(rows))]
    jump = float(np.exp(max(np.abs(np.diff(means)), default=0.0)))
    if len(cuts) < 2 or explained < r2 or jump < ratio:
        return
    score = _score(best, rows.shape)[len(cuts)]
    if score <= _line_score(rows):
        return
    null = _null(rows)
    chance = p_value(score, null)
    if chance >= p:
        return
    spans = [(log.index[a], log.index[b - 1]) for a, b in _spans(cuts, len(rows))]
    levels = [float(np.exp(log.to_numpy()[a:b].mean())) for a, b in _spans(cuts, len(rows))]
    named = ", ".join(f"{a}–{b} ({x:.3g})" for (a, b), x in zip(spans, levels, strict=True))
    message = (
        f"Layers {named}{grid.where} form groups, with the mean {grid.metric} in brackets "
        f"(change points by least squares: R² {explained:.2f}, p = {chance:.2g})."
    )
    starts = [a for a, _ in spans[1:]]
    found = evidence(
        starts=starts, groups=spans, levels=levels, r2=explained, p=chance, stack=grid.stack
    )
    yield Finding("layer-groups", "note", message, found)


def segment_costs(rows: Array) -> Array:
    """Return the squared error of one mean for every run of layers.

    Parameters
    ----------
    rows
        (draws, layers, components).

    Returns
    -------
    Array
        (draws, layers + 1, layers + 1): at [d, i, j] of layers i to j − 1; infinite where a run
        is shorter than a group may be.
    """
    draws, n, _ = rows.shape
    sums = np.concatenate([np.zeros_like(rows[:, :1]), rows.cumsum(axis=1)], axis=1)
    squares = np.concatenate([np.zeros((draws, 1)), (rows**2).sum(axis=2).cumsum(axis=1)], axis=1)
    costs = np.full((draws, n + 1, n + 1), np.inf)
    for i in range(n - SEGMENT + 1):
        ends = slice(i + SEGMENT, n + 1)
        lengths = np.arange(SEGMENT, n - i + 1)
        mean_sq = ((sums[:, ends] - sums[:, i : i + 1]) ** 2).sum(axis=2) / lengths
        costs[:, i, ends] = np.maximum(squares[:, ends] - squares[:, i : i + 1] - mean_sq, 0)
    return costs


def _fits(costs: Array) -> tuple[Array, list[Array]]:
    """Return the least error with 1, 2, … groups, (draws, MOST + 1), and where each last began."""
    draws, size = costs.shape[0], costs.shape[1]
    least = np.full((draws, MOST + 1), np.inf)
    reach, begins = costs[:, 0, :], [np.zeros((draws, size), int)]
    least[:, 1] = reach[:, -1]
    for k in range(2, MOST + 1):
        through = reach[:, :, None] + costs  # up to i in k − 1 groups, then one more to j
        begins.append(through.argmin(axis=1))
        reach = through.min(axis=1)
        least[:, k] = reach[:, -1]
    return least, begins


def _best(costs: Array, rows: Array) -> tuple[Array, list[int]]:
    """Return the errors by number of groups, and where the groups of the best number begin."""
    least, begins = _fits(costs[None])
    scores = _score(least[0], rows.shape)
    cuts: list[int] = []
    j = len(rows)
    for k in range(int(np.argmax(scores)), 0, -1):
        j = int(begins[k - 1][0, j]) if k > 1 else 0
        cuts.insert(0, j)
    return least[0], cuts


def _score(least: Array, shape: tuple[int, ...]) -> Array:
    """Return by how much groups beat one mean: the difference of BIC, for each number of them."""
    n, p = shape[-2:]
    counts = np.arange(least.shape[-1])
    with np.errstate(all="ignore"):
        gain = n * p * np.log(least[..., 1:2] / np.maximum(least, 1e-300))
    gain = gain - np.maximum(counts - 1, 0) * (p + 1) * np.log(n * p)
    return np.where(np.isfinite(least) & (counts > 0), gain, -np.inf)


def _line_score(rows: Array) -> float:
    """Return by how much a line with depth beats one mean, on the same scale."""
    n, p = rows.shape
    depth = np.linspace(-1, 1, n)
    depth /= np.linalg.norm(depth)
    whole = float((rows**2).sum())
    left = max(whole - float(((depth @ rows) ** 2).sum()), 1e-300)
    return float(n * p * np.log(whole / left) - p * np.log(n * p)) if whole else 0.0


def _null(rows: Array) -> Array:
    """Return the best score of each order of the layers."""
    permuted = orders(len(rows))
    step = max(1, _ROOM // (len(rows) + 1) ** 2)
    found = [
        _score(_fits(segment_costs(rows[permuted[at : at + step]]))[0], rows.shape).max(axis=1)
        for at in range(0, DRAWS, step)
    ]
    return np.concatenate(found)


def _spans(cuts: list[int], n: int) -> list[tuple[int, int]]:
    return list(zip(cuts, [*cuts[1:], n], strict=True))
