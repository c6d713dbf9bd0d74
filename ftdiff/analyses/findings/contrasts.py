"""Components against each other, layer by layer: pairs, attention and MLP, the part of depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings import nulls
from ftdiff.analyses.findings.crossings import crossings
from ftdiff.analyses.findings.curves import LEAST, components, curves, holds
from ftdiff.analyses.findings.depth import is_line
from ftdiff.analyses.findings.groups import is_run
from ftdiff.analyses.findings.outliers import outlying
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

TEST = "mean of the log ratio whitened under one AR(1), Benjamini-Yekutieli over pairs"


@dataclass(frozen=True)
class Pair:
    """Two components, or blocks: the one that moves more, by how much in the median layer."""

    more: str
    less: str
    ratio: float
    layers: int
    p: float


@rule(
    "contrast",
    kind="contrast",
    null="the log ratio's mean, whitened under the grid's own AR(1), Benjamini-Yekutieli: q < 0.01",
    power="30 % between two components: 50 % of models of 8 layers, 87 % of 16, all of 48",
)
def contrast(
    grid: Grid, *, p: float = 0.01, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say which of two components of a block moves more, in layers that resemble each other."""
    phi = _phi(grid, layers)
    apart = {one.component for one in outlying(grid)}
    shaped = {one.name for one in curves(grid, layers) if is_line(one) or is_run(one)}
    crossed = {frozenset((one.up, one.down)) for one in crossings(grid)}
    tested = [
        (block, _compared(grid.log[a], grid.log[b], phi))
        for block, members in _blocks(grid).items()
        for a, b in combinations(members, 2)
        if (grid.log[a] - grid.log[b]).notna().sum() >= layers
    ]
    adjusted = nulls.discoveries(np.array([pair.p for _, pair in tested]), shared=True)
    shown = [
        (block, pair, float(q))
        for (block, pair), q in zip(tested, adjusted, strict=True)
        if q < p
        and pair.ratio >= ratio
        and not apart & {pair.more, pair.less}
        and frozenset((pair.more, pair.less)) not in crossed
        and (not shaped & {pair.more, pair.less} or _holds(grid, pair))
    ]
    for block, pair, q in _nearest(grid, shown):
        absolute = _absolute(grid, pair.more, pair.less)
        against = (
            f"; per entry it is the reverse ({absolute:.3g} times): the base's norms differ"
            if absolute is not None and absolute < 1
            else ""
        )
        message = (
            f"{pair.more} moves {pair.ratio:.3g} times as much as {pair.less}{grid.where} "
            f"(median of {pair.layers} layers){against}."
        )
        found = evidence(
            **pair.__dict__, q=q, phi=phi, test=TEST, absolute_ratio=absolute, block=block,
            stack=grid.stack,
        )  # fmt: skip
        cells = grid.cells(pair.more) + grid.cells(pair.less)
        yield Finding("contrast", "note", message, found, cells)


@rule(
    "attention-against-mlp",
    kind="contrast",
    null="a contrast's, which must hold again with each component left out: p < 0.01",
    power="less than a contrast's, since each component is left out in turn; not tabled",
)
def attention_against_mlp(
    grid: Grid, *, p: float = 0.01, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say whether attention or the MLP moves more, whichever component is left out."""
    phi = _phi(grid, layers)
    whole = _sides(grid, "", phi, layers)
    if whole is None or whole.p >= p or whole.ratio < ratio:
        return
    for name in map(str, grid.values):
        if name.startswith(("attn.", "mlp.")):
            left = _sides(grid, name, phi, layers)
            if left is None or left.more != whole.more or left.p >= p or left.ratio < ratio:
                return
    more, less = ("Attention", "the MLP") if whole.more == "attn" else ("The MLP", "attention")
    message = (
        f"{more}{grid.where} moves {whole.ratio:.3g} times as much as {less} for its norm (median "
        f"of {whole.layers} layers)."
    )
    found = evidence(**whole.__dict__, phi=phi, test=TEST, stack=grid.stack)
    yield Finding("attention-against-mlp", "note", message, found)


@rule(
    "layer-dependent",
    kind="depth",
    null="that of the trends of both signs, or of the crossing, on which it rests",
    power="theirs; a quarter of the variance at least",
)
def layer_dependent(
    grid: Grid, *, share: float = 0.25, ratio: float = 1.15, layers: int = LEAST
) -> Iterator[Finding]:
    """Say whether the order of components changes with depth: some rise and others fall."""
    log = grid.full(layers)
    if log.shape[1] < 3 or not len(log):
        return
    parts, rest = two_way(log.to_numpy())
    if parts["interaction"] < share or float(np.exp(rest.std())) < ratio:
        return
    signs = {np.sign(one.rho) for one in components(curves(grid, layers)) if is_line(one)}
    if len(signs) < 2 and not crossings(grid):
        return
    message = (
        f"Which component moves more depends on the layer{grid.where}: {parts['interaction']:.0%} "
        f"of the variance (of the logarithm) is neither the layer's ({parts['layer']:.0%}) nor "
        f"the component's ({parts['component']:.0%})."
    )
    yield Finding("layer-dependent", "note", message, evidence(**parts, stack=grid.stack))


def _holds(grid: Grid, pair: Pair) -> bool:
    """Whether a difference is no trend of one of the two: it is there at all depths."""
    return holds((grid.log[pair.more] - grid.log[pair.less]).dropna().to_numpy())


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


def _phi(grid: Grid, layers: int) -> float:
    """Return the grid's autocorrelation; 0 where no component is long enough to be tested."""
    return next((curve.phi for curve in curves(grid, layers)), 0.0)


def _blocks(grid: Grid) -> dict[str, list[str]]:
    """Return the components of each block; names without a block are one."""
    found: dict[str, list[str]] = {}
    for name in map(str, grid.values):
        found.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)
    return found


def _compared(a: pd.Series[float], b: pd.Series[float], phi: float) -> Pair:
    """Return which is higher, by the median layer, and the chance that neither is."""
    gap = (a - b).dropna().to_numpy()
    middle = float(np.median(gap))
    mean, chance = nulls.level_chance(nulls.clipped(gap), phi)
    more, less = (a.name, b.name) if middle >= 0 else (b.name, a.name)
    agreed = chance if mean * middle > 0 else 1.0
    return Pair(str(more), str(less), float(np.exp(abs(middle))), len(gap), agreed)


def _nearest(grid: Grid, shown: list[tuple[str, Pair, float]]) -> list[tuple[str, Pair, float]]:
    """Keep pairs that no other lies between: the rest follows from them."""
    place = grid.log.median().rank(ascending=False).to_dict()

    def within(one: Pair, other: Pair) -> bool:
        inside = place[one.more] <= place[other.more] and place[other.less] <= place[one.less]
        return inside and one != other

    return [
        (block, pair, q)
        for block, pair, q in shown
        if not any(block == also and within(pair, other) for also, other, _ in shown)
    ]


def _absolute(grid: Grid, high: str, low: str) -> float | None:
    if grid.metric == "rms_change" or "rms_change" not in grid.twins:
        return None
    log = grid.twins["rms_change"].apply(np.log)
    return float(np.exp((log[high] - log[low]).median()))


def _sides(grid: Grid, without: str, phi: float, layers: int) -> Pair | None:
    """Compare attention with the MLP but for one component; None where a side is left empty."""
    sides = {block: _whole(grid, block, without) for block in ("attn", "mlp")}
    both = pd.DataFrame(sides).dropna()
    return _compared(both["attn"], both["mlp"], phi) if len(both) >= layers else None


def _whole(grid: Grid, block: str, without: str) -> pd.Series[float]:
    """Return the logarithm of a block's ratio, layer by layer: exact from sums where there are."""
    names = [name for name in map(str, grid.values) if name.startswith(f"{block}.")]
    names = [name for name in names if name != without]
    if grid.metric == "relative_norm" and "delta_sq" in grid.twins:
        has = grid.values[names].notna()
        energy = grid.twins["delta_sq"][names].where(has).sum(axis=1, min_count=1)
        ratio = energy / grid.twins["base_sq"][names].where(has).sum(axis=1)
        return ratio.map(np.log) / 2
    return grid.log[names].mean(axis=1)
