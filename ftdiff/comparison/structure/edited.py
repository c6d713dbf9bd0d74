"""Matrices out of which a direction was taken, and whether it is one direction in all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftdiff.comparison.structure.looks import Seen
from ftdiff.comparison.structure.matrices import Matrix
from ftdiff.metrics.records.directions import Direction
from ftdiff.tensors import Array

#: The share of ΔW's squares that its leading direction has, and that over the next, from which on
#: it is worth another look: noise of 96 × 512 has .02 and 1.2.
LEADING, APART = 0.2, 3.0
#: The cosine of the other side with what the base makes of a direction, from which on it is taken
#: out of the base, and the least side of a matrix: planted edits have .98 and more, also where
#: training followed; of independent directions 16 entries have .9 once in 400,000.
_FIT, _LEAST = 0.9, 16
#: The least λ; and the share of it that the rest may be a multiple of the base: a rescaled matrix
#: whose base has one leading direction is no edit.
_STRENGTH, _RESCALED = 0.05, 0.3
#: |cos| with the common direction from which on an edit is along it.
_SAME = 0.9


@dataclass(frozen=True, eq=False)
class Edit:
    """One matrix, and the direction that is taken out of it."""

    matrix: Matrix
    direction: Direction


def worth_a_look(seen: Sequence[Seen]) -> bool:
    """Say whether any matrix has a change that is led by one direction."""
    return any(one.lead[0] >= LEADING and one.lead[1] >= APART for one in seen)


def edited(found: Sequence[tuple[Matrix, tuple[Direction, ...]]]) -> list[Edit]:
    """Return the matrices out of which a direction was taken."""
    edits = []
    for matrix, sides in found:
        side = max(sides, key=lambda one: one.fit)
        told = min(matrix.shape) >= _LEAST and side.share >= LEADING
        removed = side.strength >= _STRENGTH and abs(side.rescale) <= _RESCALED * side.strength
        if told and removed and side.fit >= _FIT:
            edits.append(Edit(matrix, side))
    return edits


def record(edits: Sequence[Edit], looked: int) -> dict[str, Any]:
    """Return the numbers of edits: how strong they are, and along how many directions.

    Parameters
    ----------
    edits
        What was found.
    looked
        In how many matrices.
    """
    groups: dict[int, list[Edit]] = defaultdict(list)
    for one in edits:
        groups[len(one.direction.vector)].append(one)
    size, group = max(groups.items(), key=lambda item: len(item[1]))
    cosines = _with_common([one.direction.vector for one in group])
    strengths = np.array([one.direction.strength for one in edits])
    places = [one.matrix.address for one in edits]
    components = Counter(at.component for at in places)
    return {
        "matrices": len(edits),
        "of": looked,
        "writes": sum(one.direction.side == "writes" for one in edits),
        "along": int((cosines >= _SAME).sum()),
        "cosine": float(np.median(cosines)),
        "chance": float(1 / np.sqrt(size)),
        "fit": float(np.median([one.direction.fit for one in edits])),
        "share": float(np.median([one.direction.share for one in edits])),
        "strength": [float(q) for q in np.quantile(strengths, (0.0, 0.5, 1.0))],
        "components": dict(components),
        "layers": sorted({at.layer for at in places if at.layer is not None}),
        "tensors": [at.name for at in places][:8],
    }


def _with_common(vectors: Sequence[Array]) -> Array:
    """Return |cos| of each with the direction that they have most in common."""
    V = np.stack(vectors)
    values, found = np.linalg.eigh(V @ V.T)
    common = found[:, -1] @ V / np.sqrt(values[-1])
    cosines: Array = np.abs(V @ common)
    return cosines
