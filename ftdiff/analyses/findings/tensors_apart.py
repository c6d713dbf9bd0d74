"""Single tensors that are far from what their layer and their component would have them move."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

TEST = "residual of the two-way fit of medians: robust z, and the gap to the next largest"
#: The most tensors that are named, and the least spread of the others, in logarithms.
MOST, SPREAD = 5, 0.02
#: Rounds of the polish; the medians settle sooner.
_ROUNDS = 6


@rule(
    "tensor-apart",
    kind="structure",
    null="tails as heavy as those of Student's t with 3 degrees of freedom: p < 0.012",
    power="one tensor × 6: 90 to 100 % of models, from 8 layers on",
)
def tensor_apart(
    grid: Grid, *, z: float = 6.0, ratio: float = 1.5, p: float = 0.012, cells: int = 12
) -> Iterator[Finding]:
    """Name the tensors that are apart: far out, and with a gap to all others.

    Noise with heavy tails has far cells too: where tails are as heavy as those of Student's t
    with three degrees of freedom, the k-th largest is c times the next with a chance of c^(−3k).
    The first may have a chance of p, each further one half of it.
    """
    log = grid.log.to_numpy()
    if np.isfinite(log).sum() < cells or min(log.shape) < 1 or log.shape[0] < 4:
        return
    rest = residual(log)
    sizes = np.where(np.isfinite(rest), np.abs(rest), 0.0)
    order = np.argsort(sizes, axis=None)[::-1]
    ranked = sizes.ravel()[order]
    spread = 1.4826 * max(float(np.nanmedian(np.abs(rest))), SPREAD / 1.4826)
    for count in range(1, MOST + 1):
        if ranked[count - 1] < max(z * spread, np.log(ratio)):
            return
        chance = float(max(ranked[count], 2 * spread) / ranked[count - 1]) ** (3 * count)
        if chance > p / 2 ** (count - 1):
            continue
        for at in order[:count]:
            yield _finding(grid, divmod(int(at), log.shape[1]), rest, spread)
        return


def residual(log: Array) -> Array:
    """Return what the medians of layers and components leave (Tukey's median polish, 1977).

    One or two components have no layer effect of their own: there it is the median of five
    neighbours that is taken out.
    """
    rest = log - _median(log, 0)
    if log.shape[1] < 3:
        padded = np.pad(rest, ((2, 2), (0, 0)), mode="reflect")
        near = np.stack([padded[i : i + len(rest)] for i in range(5)])
        return np.asarray(rest - _median(near, 0)[0])
    for _ in range(_ROUNDS):
        rest = rest - _median(rest, 1)
        rest = rest - _median(rest, 0)
    return np.asarray(rest)


def _median(values: Array, axis: int) -> Array:
    """Return the median of what there is along an axis, kept; 0 where there is nothing."""
    there = np.isfinite(values).any(axis=axis, keepdims=True)
    filled = np.where(there, values, 0.0)
    found: Array = np.nanmedian(filled, axis=axis, keepdims=True)
    return found


def _finding(grid: Grid, place: tuple[int, int], rest: Array, spread: float) -> Finding:
    layer, name = grid.values.index[place[0]], str(grid.values.columns[place[1]])
    value, off = float(grid.values.to_numpy()[place]), float(rest[place])
    times = f"{_number(np.exp(abs(off)))} times {'as much as' if off > 0 else 'less than'}"
    message = (
        f"{name} of layer {layer}{grid.where} stands apart: it moves {times} its layer and its "
        f"component would have it ({grid.metric.replace('_', ' ')} {value:.3g})."
    )
    found = evidence(
        component=name, layer=layer, tensors=_tensors(grid, layer, name), ratio=np.exp(off),
        z=off / spread, test=TEST, stack=grid.stack,
    )  # fmt: skip
    return Finding("tensor-apart", "caution", message, found, ((layer, name),))


def _number(times: float) -> str:
    return f"{times:,.0f}" if times >= 1000 else f"{times:.3g}"


def _tensors(grid: Grid, layer: object, component: str) -> list[str]:
    if grid.diff is None:
        return []
    frame = grid.diff.frame
    mine = frame[
        (frame["stack"] == grid.stack)
        & (frame["layer"] == layer)
        & (frame["component"] == component)
        & (frame["param"] == "weight")
    ]
    return [str(name) for name in mine["tensor"]]
