"""Where nothing stands out: an even change, or what could not have been seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.analyses.finding import Finding, counted
from ftdiff.analyses.findings.curves import LEAST, components, curves
from ftdiff.analyses.findings.power import least_trend
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.analyses.findings.still import has_still_matrices, layers_of
from ftdiff.comparison.grid import Grid


@rule(
    "uniform",
    kind="uniform",
    null="no pattern passed its test",
    power="said only where a trend of 30 % would be seen in 80 of 100 models",
)
def uniform(
    grid: Grid, *, spread: float = 1.25, whole: float = 1.6, cells: int = 16, trend: float = 30.0
) -> Iterator[Finding]:
    """Say that the change is even, where a trend of the size of its spread would have been seen."""
    values = grid.values.to_numpy()
    values = values[np.isfinite(values)]
    if len(values) < cells or has_still_matrices(grid):
        return
    low, high = np.percentile(values, [5, 95])
    least = least_trend(curves(grid))
    if high / low >= spread or values.max() / values.min() >= whole or least > trend:
        return
    ends = f"{low:.3g}", f"{high:.3g}"
    size = (
        f"are {ends[0]} to three digits"
        if ends[0] == ends[1]
        else f"lie between {ends[0]} and {ends[1]} (a factor of {high / low:.2f})"
    )
    message = (
        f"The change is uniform{grid.where}: 90% of {len(values):,} cells {size}, and no pattern "
        "passed its test."
    )
    found = evidence(low=low, high=high, least_trend=least, stack=grid.stack)
    yield Finding("uniform", "note", message, found)


@rule(
    "depth-power",
    kind="power",
    null="none: it says what the tests could not see",
    power="it is the power: the least trend that 80 of 100 such models show",
)
def depth_power(grid: Grid, *, trend: float = 30.0) -> Iterator[Finding]:
    """Say what depth could not show: where there is no finding, that is no evidence of evenness."""
    layers = len(grid.values)
    tested = components(curves(grid))
    if not tested:
        why = _too_few(grid)
        message = f"{why}, nothing can be said of depth."
        yield Finding("depth-power", "note", message, evidence(layers=layers, stack=grid.stack))
        return
    least = least_trend(curves(grid))
    if least <= trend:
        return
    message = (
        f"{counted(layers, 'layer')}{grid.where} that vary as these do are too few to show a trend "
        f"with depth under {_rounded(least)}%."
    )
    found = evidence(layers=layers, least_trend=least, phi=tested[0].phi, stack=grid.stack)
    yield Finding("depth-power", "note", message, found)


def _too_few(grid: Grid) -> str:
    layers, every = len(grid.values), layers_of(grid)
    if layers >= LEAST:
        have = "stand out of rounding" if grid.drowned else "have a value"
        return f"Too few cells{grid.where} {have}"
    if layers < every:
        return f"Matrices moved in {layers} of {counted(every, 'layer')}{grid.where}: under {LEAST}"
    return (
        f"There {'is' if layers == 1 else 'are'} {counted(layers, 'layer')}{grid.where}: "
        f"under {LEAST}"
    )


def _rounded(percent: float) -> str:
    """Return a percentage as one says it: no digit more than the power of a test has."""
    step = 10 if percent < 200 else 50
    return f"{step * np.ceil(percent / step):,.0f}" if percent < 1000 else "1,000"
