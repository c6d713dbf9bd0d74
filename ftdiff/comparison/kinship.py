"""What a few rows tell before the whole is read: the base itself, a relative of it, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ftdiff.comparison.alignment.relatives import Relatives, relatives
from ftdiff.comparison.plan import Plan
from ftdiff.comparison.progress import Say
from ftdiff.comparison.reasons import KINSHIP, LAYERS
from ftdiff.comparison.saved_wider import wider
from ftdiff.formats.note import Note

#: Bytes of base from which on it is worth a word that the right one is being read.
_LONG = 1 << 30


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
    told, said = asdict(early), sentence(early)
    plan = replace(plan, kinship=told)
    unrelated = early.verdict == "unrelated"
    if say is not None and (unrelated or sum(change.size for change in plan.changes) > _LONG):
        say(said)
    if not unrelated:
        return plan
    return replace(plan, notes=(*plan.notes, Note(KINSHIP, said, **told)))


def sentence(found: Relatives) -> str:
    """Say in words what a few rows tell."""
    if found.cosine is None:
        return "unrelated to the base: no layer is like one of the base's; is it the right one?"
    of = f"rows sampled from {found.matrices} matrices"
    if found.verdict == "identical":
        return f"{of} are the base's, bit for bit"
    told = f"the median cosine of {of} with the base's is {found.cosine:z.3f}"
    if found.verdict == "family":
        return f"of the base's family, another checkpoint: {told}"
    return f"unrelated to the base: {told}; is it the right one?"


def _early(plan: Plan) -> Relatives | None:
    if plan.tuned is None or plan.tuned.kind != "full" or plan.base is None:
        return None
    if any(note.code == LAYERS and not note.data.get("home", True) for note in plan.notes):
        return Relatives("unrelated", None, 0)
    return relatives((change.address, change.base, change.recipe) for change in plan.changes)


def is_unrelated(about: Mapping[str, Any]) -> bool:
    """Say whether the sample of a diff found another model."""
    found = about.get("kinship")
    return isinstance(found, Mapping) and found.get("verdict") == "unrelated"
