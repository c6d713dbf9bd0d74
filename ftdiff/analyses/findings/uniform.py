"""The honest null: nothing stands out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ftdiff.analyses.finding import Finding
from ftdiff.analyses.findings.registry import evidence, rule
from ftdiff.comparison.grid import Grid


@rule("uniform", kind="uniform")
def uniform(grid: Grid, *, spread: float = 1.25, cells: int = 16) -> Iterator[Finding]:
    """Say that the change is even: the 95th percentile is near the 5th."""
    values = grid.values.to_numpy()
    values = values[np.isfinite(values)]
    if len(values) < cells:
        return
    low, high = np.percentile(values, [5, 95])
    if high / low >= spread:
        return
    message = (
        f"The change is uniform{grid.where}: 90 % of {len(values):,} cells lie between {low:.3g} "
        f"and {high:.3g} (a factor of {high / low:.2f}), and no pattern passed its test."
    )
    yield Finding("uniform", "note", message, evidence(low=low, high=high, stack=grid.stack))
