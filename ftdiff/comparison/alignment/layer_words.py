"""What is said of layers that were inserted, removed, copied or put in another order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftdiff.comparison.alignment.layer_match import Match
from ftdiff.comparison.reasons import LAYERS
from ftdiff.formats.note import Note

#: Layers that are written one by one, where their order tells something.
_SHOWN = 12


def note(stack: str, found: Match) -> Note:
    """Say which layers of the base the tuned ones are, or that nothing tells."""
    data = {
        "stack": stack,
        "base": len(found.base),
        "tuned": len(found.tuned),
        "home": {str(t): b for t, b in found.home.items()},
        "copies": {str(t): b for t, b in found.copies.items()},
        "inserted": [*found.inserted],
        "removed": [*found.removed],
    }
    return Note(LAYERS, sentence(data), **data)


def sentence(data: Mapping[str, Any], more: str = "") -> str:
    """Return what the record of such a note says, with more on the layers that were found.

    >>> sentence({"stack": "", "base": 1, "tuned": 2, "home": {"1": 0}, "copies": {},
    ...           "inserted": [0], "removed": []})
    "2 layers where the base has 1: layer 0 was inserted; the other is the base's 0"
    """
    count = _count(data)
    if not data["home"]:
        return (
            f"{count}, and none is like one of the base's: they were not compared, and stand as "
            "added and removed"
        )
    parts = []
    if inserted := data["inserted"]:
        parts.append(f"{_layers(inserted)} {_were(inserted)} inserted")
    if removed := data["removed"]:
        parts.append(f"the base's {spans(removed)} {_were(removed)} removed")
    if copies := {int(t): b for t, b in data["copies"].items()}:
        what = "is a further copy" if len(copies) == 1 else "are further copies"
        parts.append(f"{_layers([*copies])} {what} of the base's {_listed([*copies.values()])}")
    home = {int(t): b for t, b in data["home"].items()}
    base = [home[t] for t in sorted(home)]
    if base == sorted(base) and (data["inserted"] or copies):
        rest = "the other is" if len(home) == 1 else "the others are"
    else:
        rest = f"{_layers([*home])} {'is' if len(home) == 1 else 'are'}"
    parts.append(f"{rest} the base's {_listed(base)}{more}")
    return f"{count}: {', '.join(parts[:-1])}{'; ' if parts[:-1] else ''}{parts[-1]}"


def beyond(stack: str, base: Sequence[int], named: Sequence[int]) -> Iterator[Note]:
    """Say that an adapter names layers that the base does not have."""
    over = [layer for layer in named if layer not in base]
    if over and base:
        where = f" of the {stack}" if stack else ""
        text = (
            f"the adapter names {_layers(over)}{where}, and the base has {spans(base)}: it was "
            "trained on a model with other layers, whose numbers may mean others than the base's"
        )
        yield Note(LAYERS, text, stack=stack, beyond=over, base=len(base))


def spans(layers: Sequence[int]) -> str:
    """Write layers as runs.

    >>> spans([0, 1, 2, 5, 7, 8])
    '0–2, 5 and 7–8'
    """
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return _joined([f"{a}–{b}" if a != b else f"{a}" for a, b in runs])


def _listed(layers: Sequence[int]) -> str:
    """Write layers in their order: as runs where that is ascending."""
    if [*layers] == sorted({*layers}):
        return spans(layers)
    shown = ", ".join(map(str, layers[:_SHOWN]))
    return f"{shown}, … (in this order)" if len(layers) > _SHOWN else f"{shown} (in this order)"


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _layers(layers: Sequence[int]) -> str:
    return f"layer{'' if len(layers) == 1 else 's'} {spans(layers)}"


def _were(layers: Sequence[int]) -> str:
    return "was" if len(layers) == 1 else "were"


def _count(data: Mapping[str, Any]) -> str:
    where = f" in the {data['stack']}" if data["stack"] else ""
    if data["tuned"] == data["base"]:
        return f"layers{where} stand elsewhere than in the base"
    many = f"{data['tuned']} layer{'' if data['tuned'] == 1 else 's'}"
    return f"{many}{where} where the base has {data['base']}"
