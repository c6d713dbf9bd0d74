"""What is said of tensors that one side stores as one and the other as several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ftdiff.comparison.alignment.fusions import Fusion
from ftdiff.formats.note import Note
from ftdiff.naming.fused import leaf

#: The code of a note on tensors that were compared as one.
JOINED = "joined"
#: The code of a note on tensors that could not be.
LAYOUT_UNKNOWN = "fused-layout-unknown"


def notes_on(
    done: Sequence[Fusion],
    lost: Sequence[Fusion],
    whose: tuple[str, str],
    still: Sequence[str] = (),
) -> tuple[Note, ...]:
    """Say what was joined: `whose` the fused tensors are, and the parts."""
    notes = []
    if done:
        fused, parts = _leaves(one.name for one in done), _leaves(n for o in done for n in o.called)
        text = (
            f"{whose[0]} stores {fused} where {whose[1]} stores {parts}: "
            f"{'1 tensor was' if len(done) == 1 else f'{len(done)} tensors were'} compared as one"
            f"{'' if len(done) == 1 else ' each'}"
        )
        if still:
            text += f"; nothing changes rows {', '.join(still[:4])}{', …' if still[4:] else ''}"
        notes.append(Note(JOINED, text, tensors=[one.name for one in done], still=list(still)))
    if lost:
        text = (
            f"{whose[0]} stores {_leaves(one.name for one in lost)} where {whose[1]} stores "
            f"{_leaves(n for one in lost for n in one.called)}, and nothing says in which order "
            "the rows lie (model_type and heads in config.json): not compared"
        )
        notes.append(Note(LAYOUT_UNKNOWN, text, tensors=[one.name for one in lost]))
    return tuple(notes)


def _leaves(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(map(leaf, names)))
