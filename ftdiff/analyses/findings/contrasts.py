"""Components against each other, layer by layer: pairs, attention and MLP, the part of depth."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.depth import LEAST
from ftdiff.analyses.findings.nulls import discoveries, orders, p_value
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array


@rule("contrast", kind="structure")
def contrast(
    grid: Grid, *, p: float = 0.01, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say which of two components of a block moves more: paired Wilcoxon over layers."""
    tested = [
        (block, *_compared(grid.log[a], grid.log[b]))
        for block, members in _blocks(grid).items()
        for a, b in combinations(members, 2)
        if (grid.log[a] - grid.log[b]).notna().sum() >= layers
    ]
    adjusted = discoveries(np.array([one[-1] for one in tested]), shared=True)
    told = [
        (block, high, low, times, float(q), count)
        for (block, high, low, times, count, _), q in zip(tested, adjusted, strict=True)
        if q < p and times >= ratio
    ]
    for block, high, low, times, q, count in _nearest(grid, told):
        absolute = _absolute(grid, high, low)
        against = (
            f"; per entry it is the reverse ({absolute:.3g} times): the base's norms differ"
            if absolute is not None and absolute < 1
            else ""
        )
        message = (
            f"{high} moves {times:.3g} times as much as {low}{grid.where} (median of {count} "
            f"layers; paired Wilcoxon test, q = {q:.2g}){against}."
        )
        found = evidence(
            more=high, less=low, ratio=times, q=q, layers=count, absolute_ratio=absolute,
            block=block, stack=grid.stack,
        )  # fmt: skip
        yield Finding("contrast", "note", message, found, grid.cells(high) + grid.cells(low))


@rule("attention-against-mlp", kind="structure")
def attention_against_mlp(
    grid: Grid, *, p: float = 0.01, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say whether attention or the MLP moves more, layer by layer: paired Wilcoxon."""
    sides = {block: _whole(grid, block) for block in ("attn", "mlp")}
    both = pd.DataFrame(sides).dropna()
    if len(both) < layers:
        return
    more, less, times, count, chance = _compared(both["attn"], both["mlp"])
    if chance >= p or times < ratio:
        return
    names = {"attn": "Attention", "mlp": "The MLP"}
    message = (
        f"{names[more]}{grid.where} moves {times:.3g} times as much as "
        f"{names[less].replace('The', 'the').replace('Att', 'att')} for its norm (median of "
        f"{count} layers; paired Wilcoxon test, p = {chance:.2g})."
    )
    found = evidence(more=more, less=less, ratio=times, p=chance, layers=count, stack=grid.stack)
    yield Finding("attention-against-mlp", "note", message, found)


@rule("layer-dependent", kind="depth")
def layer_dependent(
    grid: Grid, *, share: float = 0.25, p: float = 0.005, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say whether the order of the components changes with depth: what two ways leave is smooth."""
    log = grid.full(layers)
    if log.shape[1] < 3 or not len(log):
        return
    parts, rest = two_way(log.to_numpy())
    spread = float(np.exp(rest.std()))
    if parts["interaction"] < share or spread < ratio:
        return
    chance = p_value(_smooth(rest[None])[0], _smooth(rest[orders(len(rest), block=1)]))
    if chance >= p:
        return
    message = (
        f"Which component moves more depends on the layer{grid.where}: {parts['interaction']:.0%} "
        f"of the variance of log {grid.metric} is neither the layer's ({parts['layer']:.0%}) nor "
        f"the component's ({parts['component']:.0%}), and neighbouring layers agree on it "
        f"(p = {chance:.2g})."
    )
    yield Finding("layer-dependent", "note", message, evidence(**parts, p=chance, stack=grid.stack))


def two_way(log: Array) -> tuple[dict[str, float], Array]:
    """Split the variance of layers × components into the two sides' and the rest; return both."""
    centred = log - log.mean()
    layer, component = centred.mean(axis=1, keepdims=True), centred.mean(axis=0, keepdims=True)
    rest: Array = centred - layer - component
    whole = float((centred**2).sum()) or 1.0
    squares = {
        "layer": float((layer**2).sum()) * log.shape[1] / whole,
        "component": float((component**2).sum()) * log.shape[0] / whole,
        "interaction": float((rest**2).sum()) / whole,
    }
    return squares, rest


def _smooth(rest: Array) -> Array:
    """Return how much each layer resembles the next: the autocorrelation at lag one."""
    found: Array = (rest[:, 1:] * rest[:, :-1]).sum(axis=(1, 2)) / (rest**2).sum(axis=(1, 2))
    return found


def _blocks(grid: Grid) -> dict[str, list[str]]:
    """Return the components of each block; names without a block are one."""
    found: dict[str, list[str]] = {}
    for name in map(str, grid.values):
        found.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)
    return found


def _compared(a: pd.Series[float], b: pd.Series[float]) -> tuple[str, str, float, int, float]:
    """Return which is higher, which lower, the median ratio, the number of layers, and p."""
    from scipy.stats import wilcoxon

    difference = (a - b).dropna().to_numpy()
    middle = float(np.median(difference))
    chance = float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0
    high, low = (a.name, b.name) if middle >= 0 else (b.name, a.name)
    return str(high), str(low), float(np.exp(abs(middle))), len(difference), chance


def _nearest(
    grid: Grid, told: list[tuple[str, str, str, float, float, int]]
) -> list[tuple[str, str, str, float, float, int]]:
    """Keep pairs that no other told pair lies between: the rest follows from them."""
    place = grid.log.median().rank(ascending=False).to_dict()

    def within(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
        inside = place[one[1]] <= place[other[1]] and place[other[2]] <= place[one[2]]
        return one[0] == other[0] and inside and one != other

    return [one for one in told if not any(within(one, other) for other in told)]  # type: ignore[arg-type]


def _absolute(grid: Grid, high: str, low: str) -> float | None:
    if grid.metric == "rms_change" or "rms_change" not in grid.twins:
        return None
    log = grid.twins["rms_change"].apply(np.log)
    return float(np.exp((log[high] - log[low]).median()))


def _whole(grid: Grid, block: str) -> pd.Series[float]:
    """Return the logarithm of a block's ratio, layer by layer: exact from sums where there are."""
    names = [name for name in map(str, grid.values) if name.startswith(f"{block}.")]
    if grid.metric == "relative_norm" and "delta_sq" in grid.twins:
        has = grid.values[names].notna()
        energy = grid.twins["delta_sq"][names].where(has).sum(axis=1, min_count=1)
        ratio = energy / grid.twins["base_sq"][names].where(has).sum(axis=1)
        return ratio.map(np.log) / 2
    return grid.log[names].mean(axis=1)
