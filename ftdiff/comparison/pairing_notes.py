"""What is said of names and rows that were taken for one, and of what had nothing to be held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ftdiff.comparison.reasons import MATCHED, REORDERED, SAVED
from ftdiff.deltas.recipes import Tuned, is_saved
from ftdiff.formats.note import Note
from ftdiff.naming.translation import is_translated


def names_matched(pairs: Mapping[str, str]) -> Iterator[Note]:
    """Say which names are not the same and were taken for one; a table's are said where it is."""
    loose = {n: other for n, other in pairs.items() if n != other and not is_translated(n, other)}
    if loose:
        name, other = next(iter(loose.items()))
        count = f"{len(loose):,} names were" if len(loose) > 1 else "1 name was"
        text = f"{count} matched by the part that both have: {name} is {other}"
        yield Note(MATCHED, text + (", …" if len(loose) > 1 else ""), names=len(loose))


def rows_reordered(names: Sequence[str]) -> Iterator[Note]:
    """Say of which tensors rows were compared with others than those of their number."""
    if names:
        rows = f"rows of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        text = f"{rows} stand in another order than the base's: each was compared with its like"
        yield Note(REORDERED, text, tensors=[*names])


def without_a_base(tuned: Tuned) -> tuple[Note, ...]:
    """Say that what an adapter's file holds in place of weights has no change without a base."""
    names = [name for name, recipe in tuned.recipes.items() if is_saved(recipe)]
    if not names or tuned.kind == "full":
        return ()
    count = f"{len(names):,} saved tensors are" if len(names) > 1 else "1 saved tensor is"
    text = f"{count} left out: without a base {'their' if len(names) > 1 else 'its'} change is "
    text += f"unknown ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
    return (Note(SAVED, text, tensors=names),)
