"""Parts that the base stores apart, and a fine-tune as one, become one tensor of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ftdiff.comparison.alignment.fusion_notes import notes_on
from ftdiff.comparison.alignment.fusions import Fusion, fusions, strangers
from ftdiff.comparison.alignment.renamed import under
from ftdiff.comparison.alignment.row_order import order
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Broken, Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming.fused import Split, fused_name
from ftdiff.tensors import LazyTensor, matrix_shape
from ftdiff.tensors.arranged import Rows, Stack
from ftdiff.tensors.turned import Turned


@dataclass(frozen=True)
class Joint:
    """A tensor made of the base's parts, its name, and who has it as one."""

    name: str
    tensor: LazyTensor
    fusion: Fusion


def join_base(
    base: Checkpoint, fine: Sequence[Tuned]
) -> tuple[Checkpoint, list[Tuned], list[tuple[Note, ...]]]:
    """Make one tensor of the base's parts wherever a fine-tune has one.

    Returns
    -------
    base, fine, notes
        The fine-tunes have the base's names for it. The notes are for each of them.
    """
    made: dict[str, Joint] = {}
    taken: set[str] = set()
    named: list[Tuned] = []
    notes = []
    for one in fine:
        joints, lost = _joints(base, one)
        names: dict[str, str] = {}
        for joint in joints:
            if joint.name not in made and taken.isdisjoint(joint.fusion.there):
                made[joint.name] = joint
                taken.update(joint.fusion.there)
            if joint.name in made:
                names[joint.fusion.name] = joint.name
        named.append(under(one, names, {}) if names else one)
        notes.append(notes_on([j.fusion for j in joints], lost, ("the fine-tune", "the base")))
    if not made:
        return base, named, notes
    of = {part: name for name, joint in made.items() for part in joint.fusion.there}
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in base.tensors.items():
        at = of.get(name, name)
        tensors[at] = made[at].tensor if name in of else tensor
    return replace(base, tensors=tensors), named, notes


def _joints(base: Checkpoint, tuned: Tuned) -> tuple[list[Joint], list[Fusion]]:
    """Return what of the base is one tensor in a fine-tune, and that of which no order is known."""
    mine = strangers(base, tuned)
    if not mine:
        return [], []
    config = tuned.config if tuned.kind == "full" and tuned.config else base.config
    free = {n: t.shape for n, t in base.tensors.items() if n not in tuned.recipes}
    joints: list[Joint] = []
    lost: list[Fusion] = []
    for fusion in fusions(mine, free, config, whole=True):
        parts = [base.tensors[part] for part in fusion.there]
        if not _alike(parts):
            continue
        runs = order(fusion.layout, [part.shape[0] for part in parts], config)
        if runs is None:
            lost.append(fusion)
            continue
        rows = [Rows(parts[run.part], run.first, run.rows) for run in runs]
        whole = Stack(tuple(parts) if len(runs) == len(parts) else tuple(rows))
        fitted = _as(whole, mine[fusion.name].shape)
        split = Split(fusion.called, fusion.layout)
        name = fused_name(split, fusion.there, fusion.name)
        if fitted is not None and name not in base.tensors:
            joints.append(Joint(name, fitted, fusion))
    return joints, lost


def _alike(parts: Sequence[LazyTensor]) -> bool:
    """Say whether tensors can lie one under the other."""
    if any(isinstance(part, Broken) or not part.shape for part in parts):
        return False
    return len({(part.dtype, part.shape[1:]) for part in parts}) == 1


def _as(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor | None:
    """Return a tensor in a shape that a file spells it in, if it is that of a matrix or turned."""
    if matrix_shape(tensor.shape) == matrix_shape(shape):
        return tensor
    return Turned(tensor) if tensor.shape[::-1] == shape else None
