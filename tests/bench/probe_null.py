"""How often probes err where there is nothing to read: `python -m tests.bench.probe_null`.

Features are noise, labels are shuffled 200 times, and two models of independent noise are compared.
Writes `probe_null.csv` beside this file:

covered        share of cells whose 95 % interval holds .5
told           share of cells that are not marked as chance
p_05           share of cells with p < .05, each by itself
differ         share of shuffles in which any difference of the two models has a family p < .05
differ_05      share of differences with p < .05, each by itself
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ftdiff.analyses.probing import cells, folds, null
from ftdiff.analyses.probing.result import CHANCE

SHUFFLES, CELLS = 200, 4
#: Rows, features, share of the second label, rows a group, protocol.
SITUATIONS = (
    (100, 16, 0.5, 1, "cv"),
    (200, 32, 0.5, 1, "cv"),
    (200, 32, 0.2, 1, "cv"),
    (200, 256, 0.5, 1, "cv"),
    (200, 32, 0.5, 2, "cv"),
    (200, 32, 0.5, 1, "llmsknow"),
)


def main() -> None:
    rows = []
    for n, d, share, size, protocol in SITUATIONS:
        counts = np.zeros(5)
        for seed in range(SHUFFLES):
            counts += _one(n, d, share, size, protocol, seed)
        row = {"rows": n, "features": d, "share": share, "group": size, "protocol": protocol}
        names = ("covered", "told", "p_05", "differ", "differ_05")
        row |= {name: round(value, 4) for name, value in zip(names, counts / SHUFFLES, strict=True)}
        rows.append(row)
        print(row, flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)


def _one(n: int, d: int, share: float, size: int, protocol: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    groups = (np.arange(n) // size).tolist()
    labels = np.repeat(rng.permutation(np.arange(n // size) < share * (n // size)), size)
    fold = folds.folds(labels, groups, protocol, seed)
    drawn = folds.permuted(labels, groups, fold, [0] * n, 200, seed)
    setup = cells.Setup(labels, fold, drawn, np.array(groups), protocol, seed, compared=True)
    there = np.ones(n, bool)
    first, second = (
        [cells.measure(_features(rng, n, d, size), there, setup) for _ in range(CELLS)]
        for _ in range(2)
    )
    seen, under = np.array([c.ridge for c in first]), np.array([c.null for c in first])
    apart = cells.differences(first, second, setup)
    return np.array(
        [
            np.mean([c.low <= 0.5 <= c.high for c in first]),
            np.mean(null.family_p(seen, under) < CHANCE),
            np.mean(null.single_p(seen, under) < 0.05),
            any(one.p_family < 0.05 for one in apart),
            np.mean([one.p < 0.05 for one in apart]),
        ]
    )


def _features(rng: np.random.Generator, n: int, d: int, size: int) -> np.ndarray:
    """Noise that rows of a group share in part."""
    shared = np.repeat(rng.standard_normal((n // size, d)), size, axis=0)
    return (shared + (size > 1) * 0.5 * rng.standard_normal((n, d))).astype(np.float32)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
