"""Changes of several matrices that are stored one above the other: experts in one tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.deltas.forms.lowrank import LowRank
from ftdiff.tensors import Array


@dataclass(frozen=True, eq=False)
class Stacked:
    """ΔW of n experts, rows under rows.

    Parameters
    ----------
    parts
        The experts' changes, all of one shape.

    Notes
    -----
    Experts act side by side: the map of all of them is block diagonal. Norms and inner products
    are those of the stack; the singular values are the experts' own, together.
    """

    parts: Sequence[LowRank]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of all parts × columns of one."""
        rows, columns = self.parts[0].shape
        return rows * len(self.parts), columns

    def sumsq(self) -> float:
        """Return ‖ΔW‖²_F, in the parts' closed forms."""
        return math.fsum(part.sumsq() for part in self.parts)

    def squares(self, axis: int) -> Array:
        """Return the squared norm of every row (axis 0), or of every column over all parts."""
        parts = [part.squares(axis) for part in self.parts]
        total: Array = np.concatenate(parts) if axis == 0 else np.sum(parts, axis=0)
        return total

    def nonfinite(self) -> int:
        """Return how many entries are not finite."""
        return sum(part.nonfinite() for part in self.parts)

    def rows(self, start: int, stop: int) -> Array:
        """Return these rows in float32, of as many experts as they reach over."""
        height = self.parts[0].shape[0]
        first, last = start // height, -(-stop // height)
        pieces = [
            self.parts[i].rows(max(start - i * height, 0), min(stop - i * height, height))
            for i in range(first, last)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def inner(self, W: Array) -> float:
        """Return ⟨W, ΔW⟩ for W of the stack's shape."""
        height = self.parts[0].shape[0]
        return math.fsum(
            part.inner(W[i * height : (i + 1) * height]) for i, part in enumerate(self.parts)
        )

    def singular_values(self) -> Array:
        """Return every expert's singular values, largest first."""
        return np.sort(np.concatenate([part.singular_values() for part in self.parts]))[::-1]

    def dense(self) -> Array:
        """Return the stack multiplied out in float64."""
        return np.concatenate([part.dense() for part in self.parts])
