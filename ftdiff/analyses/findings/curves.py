"""One curve over the layers for each component and for all: which shape it has, if any."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import pandas as pd

from ftdiff.analyses.findings import nulls
from ftdiff.comparison.grid import Grid
from ftdiff.tensors import Array

#: Fewer layers have no depth to speak of.
LEAST = 6
#: The curve of all components: its name, and how many components it takes.
ALL, MEMBERS = "", 3
#: Share of a difference of levels that has to be there in each third of the layers.
_KEPT = 0.5


@dataclass(frozen=True, eq=False)
class Curve:
    """A component over the layers in which it has a value.

    Attributes
    ----------
    name
        The component; `ALL` for the median of all, each less its own level.
    layers, log
        Layers, and logarithms of the values there.
    phi
        The autocorrelation that all tests of the grid assume.
    line_p, line_q, run_p, run_q
        Chance of a line and of a run of layers, alone and adjusted over the components.
    run
        First layer and one past the last of the best run, as places.
    line_bic, run_bic
        By how much the line and the run beat a constant (Schwarz, 1978).
    """

    name: str
    layers: tuple[Hashable, ...]
    log: Array
    phi: float
    line_p: float
    line_q: float
    run_p: float
    run_q: float
    run: tuple[int, int]
    line_bic: float
    run_bic: float

    @property
    def rho(self) -> float:
        """Spearman's correlation with depth."""
        ranks = pd.Series(self.log).rank().to_numpy()
        return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) if np.ptp(ranks) else 0.0

    @property
    def slope_percent(self) -> float:
        """Change over all layers, in percent of the first, by the fit that is nearer.

        Of a straight line and one of logarithms, both by the median of slopes (Theil and Sen).
        """
        depth = np.arange(len(self.log))
        level, slope = _median_line(self.log)
        off = float(np.median(np.abs(self.log - level - slope * depth)))
        start, step = _median_line(np.exp(self.log))
        straight = start + step * depth
        if straight.min() > 0 and np.median(np.abs(self.log - np.log(straight))) < off:
            return 100 * float(straight[-1] / straight[0] - 1)
        return percent(slope * depth[-1])

    @property
    def step(self) -> bool:
        """Whether the best run begins or ends with the layers."""
        return self.run[0] == 0 or self.run[1] == len(self.log)

    def difference(self, run: tuple[int, int] | None = None) -> float:
        """Return the median within a run less that of the other layers, in logarithms."""
        inside = np.zeros(len(self.log), bool)
        inside[slice(*(run or self.run))] = True
        return float(np.median(self.log[inside]) - np.median(self.log[~inside]))

    def span(self) -> float:
        """Return the highest mean of three neighbours less the lowest, in logarithms."""
        means = np.convolve(self.log, np.full(nulls.SEGMENT, 1 / nulls.SEGMENT), "valid")
        return float(np.ptp(means))


def _median_line(values: Array) -> tuple[float, float]:
    first, last = np.triu_indices(len(values), 1)
    slope = float(np.median((values[last] - values[first]) / (last - first)))
    return float(np.median(values - slope * np.arange(len(values)))), slope


def percent(log: float) -> float:
    """Return a difference of logarithms as a change in percent."""
    return 100 * float(np.expm1(np.clip(log, -50, 50)))


def magnitude(log: float) -> float:
    """Return a difference of logarithms as a change in percent of the smaller side."""
    return percent(abs(log))


def columns(log: pd.DataFrame, least: int = LEAST) -> dict[str, pd.Series[float]]:
    """Return the columns that have a value in enough layers, in half of them at least."""
    enough = max(least, len(log) / 2)
    kept = {str(name): log[name].dropna() for name in log}
    return {name: column for name, column in kept.items() if len(column) >= enough}


def curves(grid: Grid, least: int = LEAST) -> tuple[Curve, ...]:
    """Test every component of a grid, and all of them together, which comes last."""
    return _kept(grid, least)


@lru_cache(maxsize=16)
def _kept(grid: Grid, least: int) -> tuple[Curve, ...]:
    return of_columns(grid.log, least)


def of_columns(log: pd.DataFrame, least: int = LEAST) -> tuple[Curve, ...]:
    """Test every column of logarithms, and where there are three or more their median."""
    kept = columns(log, least)
    if not kept:
        return ()
    phi = nulls.rounded_up(nulls.pooled_phi([column.to_numpy() for column in kept.values()]))
    if len(kept) >= MEMBERS:
        centred = pd.DataFrame({name: column - column.median() for name, column in kept.items()})
        common = centred[centred.notna().mean(axis=1) >= 0.5].median(axis=1)
        if len(common) >= least:
            kept[ALL] = common
    tested = [_tested(name, column, phi) for name, column in kept.items()]
    line_q, run_q = (nulls.discoveries(np.array([one[i] for one in tested])) for i in (2, 3))
    return tuple(
        Curve(
            name, tuple(column.index), column.to_numpy(), phi,
            line_p, float(line), run_p, float(run), best, line_bic, run_bic,
        )
        for (name, column, line_p, run_p, best, line_bic, run_bic), line, run in zip(
            tested, line_q, run_q, strict=True
        )
    )  # fmt: skip


def components(tested: Iterable[Curve]) -> list[Curve]:
    """Return the curves of single components."""
    return [curve for curve in tested if curve.name != ALL]


def _tested(
    name: str, column: pd.Series[float], phi: float
) -> tuple[str, pd.Series[float], float, float, tuple[int, int], float, float]:
    n = len(column)
    shapes = nulls.shapes(n, phi)
    scores = shapes.scores(nulls.clipped(column.to_numpy())[None])[0]
    best = 1 + int(scores[1:].argmax())
    run = edges(column.to_numpy(), *map(int, shapes.runs[best - 1]))
    line_p = float(nulls.student(scores[0], n - 2))
    run_p = nulls.run_chance(float(scores[best]), n, phi)
    ends = 1 if run[0] == 0 or run[1] == n else 2
    line_bic = n * np.log1p(scores[0] / (n - 2)) - np.log(n)
    run_bic = n * np.log1p(scores[best] / (n - 2)) - (1 + ends) * np.log(n)
    return name, column, line_p, run_p, run, float(line_bic), float(run_bic)


def edges(curve: Array, first: int, last: int) -> tuple[int, int]:
    """Return the run near one that was found which least squares prefers, to the layer.

    The scan knows fewer runs than there are, and of a smooth hump only its upper half. What is
    beyond the medians of both sides is held to them: a layer belongs to the nearer one.
    """
    n, near = len(curve), max(2, (last - first) // 3)
    outer = np.concatenate([curve[:first], curve[last:]])
    held = np.clip(curve, *sorted((np.median(curve[first:last]), np.median(outer))))
    sums = np.concatenate([[0.0], (held - held.mean()).cumsum()])
    starts = [0] if first == 0 else range(max(1, first - near), first + near + 1)
    ends = [n] if last == n else range(max(nulls.SEGMENT, last - near), min(n, last + near + 1))
    best, least = (first, last), -1.0
    for a, b in product(starts, ends):
        inside, outside = b - a, n - b + a
        if min(inside, outside) < nulls.SEGMENT:
            continue
        gain = (sums[b] - sums[a]) ** 2 * (1 / inside + 1 / outside)
        if gain > least * (1 + 1e-9):
            best, least = (a, b), gain
    return best


def holds(gap: Array) -> bool:
    """Whether a difference of two curves is there in each third of the layers, by half of it."""
    middle = float(np.median(gap))
    return (
        all(np.median(part) / middle >= _KEPT for part in np.array_split(gap, 3))
        if middle
        else False
    )
