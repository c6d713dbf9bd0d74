"""What one side stores as one tensor and the other as several is compared as one.

Where the base has the parts, they are its tensor, rows under rows. Where the base has it as one,
the changes of the parts are one change. No layout is guessed at: rows that lie head by head are put
in order where the configuration says how many heads there are, and otherwise nothing is compared.
"""

from __future__ import annotations

from ftdiff.comparison.alignment.base_parts import join_base
from ftdiff.comparison.alignment.fusions import strangers
from ftdiff.comparison.alignment.tuned_parts import join_tuned
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint
from ftdiff.formats.note import Note


def join(base: Checkpoint, tuned: Tuned) -> tuple[Checkpoint, Tuned, tuple[Note, ...]]:
    """Return both sides with one tensor wherever one of them has one, and notes on it."""
    if not strangers(base, tuned):
        return base, tuned, ()
    base, (tuned,), (notes,) = join_base(base, [tuned])
    tuned, more = join_tuned(base, tuned)
    return base, tuned, (*notes, *more)
