"""Second sets of weights inside one file: running averages (EMA) beside the weights themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ftdiff.formats.note import Note

#: The code of the note; its data are the `prefix` and the number of `tensors`.
EMA = "ema-copies"


def averages(names: Iterable[str]) -> tuple[Note, ...]:
    """Return a note on names whose first word says EMA, where other names have it not.

    >>> [str(note) for note in averages(["a.weight", "b.weight"])]
    []
    >>> averages(["model.a.weight", "model.b.weight", "ema.a.weight", "ema.b.weight"])[0].data
    {'prefix': 'ema', 'tensors': 2, 'others': 2}
    """
    firsts = Counter(name.partition(".")[0] for name in names if "." in name)
    found = {word: count for word, count in firsts.items() if "ema" in word.split("_")}
    others = sum(firsts.values()) - sum(found.values())
    if not others:
        return ()
    return tuple(
        Note(
            EMA,
            f"{count:,} tensors ({word}.…) are running averages (EMA) beside {others:,} others: a "
            "second set of weights, compared under its own names alone",
            prefix=word,
            tensors=count,
            others=others,
        )
        for word, count in found.items()
        if count > 1
    )
