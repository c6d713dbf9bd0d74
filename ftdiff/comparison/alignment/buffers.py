"""Tables, masks and counters that lie beside the weights are counted, and compared with nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ftdiff.adapters import account
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note
from ftdiff.naming.buffers import buffers

#: The code of a note on tensors that are no weights.
BUFFERS = "buffers"


def without_buffers(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Return both sides without what is no weight; an adapter's files hold nothing of the kind."""
    theirs = of(base)
    mine = of(tuned) if tuned.kind == "full" else ()
    if not theirs and not mine:
        return base, tuned, ()
    both = dict.fromkeys((*theirs, *mine))
    note = Note(BUFFERS, sentence(both), tensors=[*both], base=len(theirs), tuned=len(mine))
    return dropped(base, theirs), left(tuned, mine), (note,)


def of(side: Checkpoint | Tuned) -> tuple[str, ...]:
    """Return the buffers of a side; none where it has nothing else."""
    held: Mapping[str, tuple[int, ...]]
    if isinstance(side, Tuned):
        held = {name: recipe.shape for name, recipe in side.recipes.items()}
    else:
        held = {name: tensor.shape for name, tensor in side.tensors.items()}
    found = tuple(buffers(held))
    return found if len(found) < len(held) else ()


def dropped(base: Checkpoint, names: Iterable[str]) -> Checkpoint:
    """Return a base without some tensors."""
    out = {*names}
    tensors = {name: tensor for name, tensor in base.tensors.items() if name not in out}
    return replace(base, tensors=tensors) if out else base


def left(tuned: Tuned, names: Iterable[str]) -> Tuned:
    """Return a fine-tune without some recipes, whose keys are known to be no part of a change."""
    out = {*names}
    if not out:
        return tuned
    keys = (key for key, held in account.readers(tuned).items() if held and out.issuperset(held))
    recipes = {name: recipe for name, recipe in tuned.recipes.items() if name not in out}
    return replace(tuned, recipes=recipes, spent={**tuned.spent, **dict.fromkeys(keys, ())})


def sentence(names: Iterable[str]) -> str:
    """Say how many there are, and what they are called.

    >>> sentence(["layers.0.rotary_emb.inv_freq", "layers.1.rotary_emb.inv_freq"])
    '2 buffers are no weights (inv_freq × 2): counted, not compared'
    """
    found = Counter(name.rpartition(".")[2] for name in names)
    words = ", ".join(f"{word} × {count}" for word, count in found.most_common())
    count = found.total()
    are = "1 buffer is no weight" if count == 1 else f"{count:,} buffers are no weights"
    return f"{are} ({words}): counted, not compared"
