"""Files that are made of an adapter's parts in no layout that is known: named, and never a model.

Most of their tensors are pairs of factors, by whole words of their names and by their shapes, or
rotations by name; or one of them says what the file is. `up_proj` and `down_blocks` are words of
models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ftdiff.adapters import single_file
from ftdiff.deltas.recipes import Tuned
from ftdiff.formats import Checkpoint, open_stored
from ftdiff.formats.note import Note
from ftdiff.formats.place import Place

#: The code of a note on such a file; its data are the number of `tensors`.
UNKNOWN_KIND = "unknown-adapter"
#: The two factors, as r × in and out × r.
_PAIRS = {
    "lora_A": "lora_B",
    "lora_a": "lora_b",
    "lora_down": "lora_up",
    "lora_in": "lora_out",
    "A": "B",
    "a": "b",
    "adapter_down": "adapter_up",
    "linear_in": "linear_out",
    "down": "up",
}
#: Words that models have too, and how much smaller than both sides the rank then is.
_COMMON, _SMALLER = ("down", "linear_in"), 5
#: Words that are halves of a pair only where the name says so otherwise.
_LETTERS = ("A", "a")
#: A tensor that says what the file is.
_MARKERS = ("lora_controlnet",)
_SAYS_SO = re.compile(r"(^|[._:-])\w*(lora|adapter|lycoris|locon)\w*([._:-]|$)", re.IGNORECASE)
_ROTATIONS = ("oft_", "boft_")
_WORDS = re.compile(r"[.:/]")
_NUMBERED = re.compile(r"[^.]+:\d+:(up|down)")


def recognises(path: Place) -> bool:
    """Say whether most of the file's tensors are parts of an adapter."""
    shapes = single_file.shapes(path)
    most = bool(shapes) and 2 * len(parts(shapes)) > len(shapes)
    return most or not shapes.keys().isdisjoint(_MARKERS)


def open_(path: Place, base: Checkpoint | None) -> Tuned:
    """Name every tensor: none is read.

    Raises
    ------
    BadFile
        The header lies.
    """
    file = single_file.find(path)
    assert file is not None
    opened = open_stored(file)
    reason = "a part of an adapter whose layout is not known"
    why = f"{reason}; not read"
    if any(_NUMBERED.fullmatch(name) for name in opened.tensors):
        why = "numbered in the order of its model's code, which the file does not hold; not read"
    text = f"an adapter of an unknown kind: none of its {len(opened.tensors)} tensors is read"
    return Tuned(
        recipes={},
        source=opened.source,
        kind="unknown",
        unmatched=dict.fromkeys(opened.tensors, why),
        files=opened.files,
        given=opened.tensors,
        notes=(
            *opened.notes,
            Note(UNKNOWN_KIND, text, tensors=len(opened.tensors)),
            *_ranks(opened),
        ),
    )


def _ranks(opened: Checkpoint) -> tuple[Note, ...]:
    """Say where cloneofsimo's header names other ranks than its factors have."""
    wrong = []
    for name, tensor in opened.tensors.items():
        module = name.removesuffix(":down")
        told = opened.metadata.get(f"{module}:rank")
        if module != name and told is not None and told != str(tensor.shape[0]):
            wrong.append(f"{module} is of rank {tensor.shape[0]}, the header says {told}")
    if not wrong:
        return ()
    text = f"{len(wrong)} ranks of the header are not the factors': {wrong[0]}"
    return (Note("header-ranks", text, modules=len(wrong)),)


def parts(shapes: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
    """Return the names that are halves of a pair of factors, or rotations.

    >>> sorted(parts({"b.0.qkv_lora.down.weight": (4, 64), "b.0.qkv_lora.up.weight": (96, 4)}))
    ['b.0.qkv_lora.down.weight', 'b.0.qkv_lora.up.weight']
    >>> parts({"b.0.mlp.down.weight": (64, 256), "b.0.mlp.up.weight": (256, 64)})
    frozenset()
    """
    found = {
        name for name in shapes if any(word.startswith(_ROTATIONS) for word in name.split(".")[-3:])
    }
    for name, shape in shapes.items():
        for other in _partners(name):
            if other in shapes and _multiply(name, shape, shapes[other]):
                found |= {name, other}
    return frozenset(found)


def _partners(name: str) -> list[str]:
    """Return the names that a down half's up half may have."""
    words = _WORDS.split(name)
    marks = _WORDS.findall(name)
    found = []
    for at, word in enumerate(words):
        start, mark, rest = word.rpartition("lora_")  # of a path whose dots are underscores
        start, half = (start, mark + rest) if start.endswith("_") else ("", word)
        if half in _PAIRS:
            other = [*words[:at], start + _PAIRS[half], *words[at + 1 :]]
            found.append("".join(a + b for a, b in zip(other, [*marks, ""], strict=True)))
    return found


def _multiply(name: str, down: tuple[int, ...], up: tuple[int, ...]) -> bool:
    """Say whether (r, in) and (out, r) are a pair whose product is larger than they are."""
    if len(down) < 2 or len(up) < 2:
        return False
    turned = down[-1] == up[0] and any(word in ("lora_a",) for word in _WORDS.split(name))
    rank = down[-1] if turned else down[0]
    if not turned and down[0] != up[1]:
        return False
    words = _WORDS.split(name)
    if _NUMBERED.fullmatch(name):
        return True
    if any(word in _LETTERS for word in words) and not _SAYS_SO.search(name):
        return False
    if any(word in _COMMON for word in words) and not _SAYS_SO.search(name):
        return rank * _SMALLER < min(down[1], up[0])
    return True
