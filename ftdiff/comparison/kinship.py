"""What a few rows tell before the whole is read: the base itself, a relative of it, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np

from ftdiff.comparison.alignment.layer_match import STRANGER
from ftdiff.comparison.alignment.samples import is_same, of_pair
from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.progress import Say
from ftdiff.comparison.reasons import KINSHIP, LAYERS
from ftdiff.comparison.saved_wider import wider
from ftdiff.deltas.recipes import Replaced
from ftdiff.formats.note import Note
from ftdiff.tensors import numel

#: Matrices that rows are read of, and rows of each.
_MATRICES, _ROWS = 16, 1
#: A matrix of fewer entries says nothing, nor do fewer matrices.
_LEAST, _FEWEST = 256, 3
#: At this cosine a model is the base's, negated.
_NEGATED = -0.9
#: Bytes of base from which on it is worth a word that the right one is being read.
_LONG = 1 << 30
#: Blocks that are copied from model to model, and say nothing of where the others come from.
_COPIED = ("embed", "head", "norm")


@dataclass(frozen=True)
class Early:
    """What the sample says.

    Attributes
    ----------
    verdict
        "identical" (as far as was read), "family" (the base's, another checkpoint) or "unrelated".
    cosine
        The median cosine of the rows; None where no layer is like one of the base's.
    matrices
        How many they are of.
    """

    verdict: str
    cosine: float | None
    matrices: int

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.cosine is None:
            return "unrelated to the base: no layer is like one of the base's; is it the right one?"
        of = f"rows sampled from {self.matrices} matrices"
        if self.verdict == "identical":
            return f"{of} are the base's, bit for bit"
        told = f"the median cosine of {of} with the base's is {self.cosine:z.3f}"
        if self.verdict == "family":
            return f"of the base's family, another checkpoint: {told}"
        return f"unrelated to the base: {told}; is it the right one?"

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return {"verdict": self.verdict, "cosine": self.cosine, "matrices": self.matrices}


def foretold(plan: Plan, say: Say | None = None) -> Plan:
    """Return the plan with what a sample says of it; of whole checkpoints, from a few rows.

    That a checkpoint is unrelated is said at once, and noted; of what takes long the rest is said.
    That one was saved wider than its values are is noted.
    """
    if more := (*wider(plan),):
        plan = replace(plan, notes=(*plan.notes, *more))
    early = _early(plan)
    if early is None:
        return plan
    plan = replace(plan, kinship=early.record())
    unrelated = early.verdict == "unrelated"
    if say is not None and (unrelated or sum(change.size for change in plan.changes) > _LONG):
        say(early.sentence)
    if not unrelated:
        return plan
    return replace(plan, notes=(*plan.notes, Note(KINSHIP, early.sentence, **early.record())))


def _early(plan: Plan) -> Early | None:
    if plan.tuned is None or plan.tuned.kind != "full" or plan.base is None:
        return None
    if any(note.code == LAYERS and not note.data.get("home", True) for note in plan.notes):
        return Early("unrelated", None, 0)
    found = [one for one in map(_of, _drawn(plan)) if one is not None]
    if len(found) < _FEWEST:
        return None
    middle = float(np.median([cosine for cosine, _ in found]))
    if all(equal for _, equal in found):
        return Early("identical", middle, len(found))
    # rows of independent starts are never the same
    apart = _NEGATED <= middle < STRANGER and not any(equal for _, equal in found)
    return Early("unrelated" if apart else "family", middle, len(found))


def _drawn(plan: Plan) -> list[Change]:
    """Draw by a hash of the name: a stride would meet the same few components in every layer."""
    fit = [change for change in plan.changes if _tells(change)]
    return sorted(fit, key=lambda change: crc32(change.address.name.encode()))[:_MATRICES]


def _tells(change: Change) -> bool:
    if change.base is None or not isinstance(change.recipe, Replaced):
        return False
    shape, at = change.base.shape, change.address
    if at.block in _COPIED or at.param != "weight" or len(shape) < 2:
        return False
    return shape == change.recipe.shape and numel(shape) >= _LEAST


def _of(change: Change) -> tuple[float, bool] | None:
    """Return the cosine of a few rows with the base's, and whether they are the same."""
    assert change.base is not None and isinstance(change.recipe, Replaced)
    if is_same(change.base, change.recipe.tensor):
        return 1.0, True
    pair = of_pair(change.base, change.recipe.tensor, _ROWS)
    if pair is None or pair[0].is_zero or pair[1].is_zero:
        return None
    return pair[0].cosine(pair[1]), pair[0].equals(pair[1])


def is_unrelated(about: Mapping[str, Any]) -> bool:
    """Say whether the sample of a diff found another model."""
    found = about.get("kinship")
    return isinstance(found, Mapping) and found.get("verdict") == "unrelated"
