"""Which of the containers in a pickle is the model's state dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftdiff.errors import BadFile
from ftdiff.formats.note import Note
from ftdiff.formats.torch_zip.records import TensorRecord

#: What trainers call the model's own, the first of them first.
_MODEL = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "generator"),
    *("params", "weights", "teacher"),
)
_DEEPEST = 4


def find(held: Any, source: str) -> tuple[dict[str, TensorRecord], tuple[Note, ...]]:
    """Return the tensors of the model, and a note on where they are and what is beside them.

    Raises
    ------
    BadFile
        There are none, or several sets of which none is called as a model's is.
    """
    sets = {".".join(path): tensors for path, tensors in _sets(held, (), set())}
    chosen, notes = choose(sets, source)
    return sets[chosen], notes


def choose(
    sets: Mapping[str, Mapping[str, Any]], source: str, others: Sequence[str] = ()
) -> tuple[str, tuple[Note, ...]]:
    """Return which of several sets of tensors is the model's, and notes on that.

    Parameters
    ----------
    sets
        By their path in the file, in dots.
    source
        The file, for complaints.
    others
        What else is known to lie beside them.

    Raises
    ------
    BadFile
        There are none, or several of which none is called as a model's is.
    """
    if not sets:
        raise BadFile(f"{source}: no dict of tensors in it")
    chosen = _choose(sets, source)
    beside = sorted({*others} | {name or "the top level" for name in sets if name != chosen})
    notes: list[Note] = []
    if chosen:
        text = f"the weights are read from {chosen!r} in the file"
        notes.append(Note("descended", text, path=chosen))
    if beside:
        text = f"not read, beside it in the file: {', '.join(beside[:5])}"
        notes.append(Note("beside-the-weights", text, others=beside))
    return chosen, tuple(notes)


def _choose(sets: Mapping[str, Mapping[str, Any]], source: str) -> str:
    if len(sets) == 1:
        return next(iter(sets))
    loose = len(sets.get("", ()))
    for word in _MODEL:
        named = [name for name in sets if name.split(".")[-1] == word and len(sets[name]) > loose]
        if named:
            return min(named, key=lambda name: (name.count("."), name))
    if loose:
        return ""
    found = ", ".join(sorted(sets)[:5])
    raise BadFile(f"{source}: several dicts of tensors ({found}); save the one that is meant")


def _sets(
    held: Any, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, TensorRecord]]]:
    """Yield every dict that holds tensors under names, and its path."""
    if not isinstance(held, Mapping) or id(held) in seen or len(path) > _DEEPEST:
        return
    seen.add(id(held))
    tensors = {
        name: value
        for name, value in held.items()
        if isinstance(name, str) and isinstance(value, TensorRecord)
    }
    if tensors:
        yield path, tensors
    for name, value in held.items():
        if isinstance(name, str):
            yield from _sets(value, (*path, name), seen)
