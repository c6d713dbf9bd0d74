"""What `ftdiff merge-of` says of merges, of siblings that are none, and of what is neither.

    python -m tests.bench.merge_nulls [--pairs 200]

takes two minutes of one core and writes `merge_nulls.csv` beside itself: a row per kind of model,
cosine of its parents' changes, and size of these over the weights, with how often each verdict was
reached. Seeds are fixed: the file is the same whenever it is written.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import torch

import ftdiff
from ftdiff.analyses.merges.verdicts import EXITS
from tests.analyses import planted_merges as planted
from tests.analyses.planted_merges import State

OUT = Path(__file__).with_suffix(".csv")
VERDICTS = tuple(EXITS)
COSINES, SIZES = (0.3, 0.9), (5e-3,)
#: How much a model is trained on, over its parents' changes.
ON_TOP = 0.02

Make = Callable[[Sequence[State], float, int], State]


def mean(models: Sequence[State], dtype: torch.dtype = torch.bfloat16) -> State:
    """Return four sevenths of the first and three of the second."""
    return planted.linear([*models[:2]], [4 / 7, 3 / 7], dtype=dtype)


#: By kind, a model made of three siblings, of which the first two are the ones that are held
#: against it; the size of their changes; and a seed.
KINDS: dict[str, Make] = {
    "merge": lambda models, size, seed: mean(models),
    "sibling": lambda models, size, seed: models[2],
    "merge, trained on by 2 %": lambda models, size, seed: planted.trained(
        mean(models, torch.float32), ON_TOP * size, seed
    ),
    "merge, a parent of .2 is missing": lambda models, size, seed: planted.linear(
        [*models], [0.5, 0.3, 0.2]
    ),
}


def verdict(kind: str, cosine: float, size: float, seed: int) -> str:
    """Return what is said of one model."""
    base = planted.base(seed)
    models = planted.tuned(base, 3, size, cosine, seed=10_000 + seed)
    made = KINDS[kind](models, size, 20_000 + seed)
    return ftdiff.merge_of(made, models[:2], base).verdict


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    pairs = parser.parse_args().pairs
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "cosine", "change", "pairs", *VERDICTS])
        for kind, cosine, size in product(KINDS, COSINES, SIZES):
            found = Counter(verdict(kind, cosine, size, seed) for seed in range(pairs))
            writer.writerow([kind, cosine, size, pairs, *(found[one] for one in VERDICTS)])
            file.flush()


if __name__ == "__main__":
    main()
