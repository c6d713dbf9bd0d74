"""Whether a checkpoint was made from its base at all: the median cosine of the weight matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.damage.kinds import damage_of
from ftdiff.comparison.frame import among, floats, there
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import IDENTICAL, MOVED

#: Under this median cosine a checkpoint is no fine-tune of the base: heavy ones are above 0.96.
ANOTHER = 0.5
#: Nor is one another's whose matrices point against the base's: it is the base, negated.
_NEGATED = -0.9
#: Blocks that are copied from model to model, and say nothing of where the others come from.
_COPIED = ("embed", "head", "norm")
#: Entries under which a cosine is chance.
_LEAST = 64
#: Matrices under which some were replaced, and nothing is known of where the model comes from.
_SEVERAL = 3


@dataclass(frozen=True)
class Kinship:
    """How near the matrices of a fine-tune are to its base's.

    Attributes
    ----------
    cosine
        The median of the matrices' cosines with the base's, embeddings and heads apart; a matrix
        that is the base's counts with 1.
    matrices
        How many it is of.
    others
        How many more were compared: changes that an adapter adds to the base's matrices.
    """

    cosine: float
    matrices: int
    others: int = 0

    @property
    def is_told(self) -> bool:
        """Whether it is of several matrices, and of most: a few may have been replaced."""
        return self.matrices >= _SEVERAL and self.matrices > self.others

    def is_another(self, cosine: float = ANOTHER) -> bool:
        """Say whether the fine-tune was made from another base: it points elsewhere than this one.

        >>> Kinship(0.1, 8).is_another(), Kinship(-1.0, 8).is_another()
        (True, False)
        >>> Kinship(0.1, 2).is_another(), Kinship(0.1, 8, others=20).is_another()
        (False, False)
        """
        return self.is_told and _NEGATED <= self.cosine < cosine


def kinship(diff: Diff) -> Kinship | None:
    """Measure it; None where no such matrix is stored on both sides, as in an adapter."""
    columns = diff.columns
    cosine = damage_of(diff).cosine
    stored = there(columns["base_dtype"]) & there(columns["tuned_dtype"])
    cosine = np.where(stored & (columns["status"] == IDENTICAL), 1.0, cosine)
    matrix = np.array([shape is not None and len(shape) > 1 for shape in columns["shape"]], bool)
    large = floats(columns["numel"]) >= _LEAST
    chosen = matrix & large & (columns["param"] == "weight") & ~among(columns["block"], _COPIED)
    known = cosine[chosen & ~np.isnan(cosine)]
    others = int((chosen & ~stored & among(columns["status"], (*MOVED, IDENTICAL))).sum())
    return Kinship(float(np.median(known)), len(known), others) if len(known) else None


def is_another_base(diff: Diff, cosine: float = ANOTHER) -> bool:
    """Say whether a checkpoint was made from another base than the one given."""
    found = kinship(diff)
    return found is not None and found.is_another(cosine)
