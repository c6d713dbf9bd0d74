"""Learn from all names of a file which of their integers count blocks, and cut the names there."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ftdiff.naming.tables import Words

# A word that may count blocks or experts. Longer integers index nothing that exists, and would not
# fit the integers of a frame.
_INDEX = re.compile(r"(?:(?<![^.])|(?<=\.expert_))(0|[1-9][0-9]{0,8})(?![^.])")
# Integers further in are never asked whether they count blocks: hostile names stay linear.
_DEEPEST = 8

# A name is cut at its integers into pieces and indices: "h.3.mlp" is ("h.", ".mlp") and ("3",).
# Names with equal pieces are alike; pieces[: k + 1] is the path to the list that index k counts.
_Pieces = tuple[str, ...]
_Members = Sequence[tuple[str, Sequence[str]]]


class Place(NamedTuple):
    """What the layers, sublayers and experts of a list share.

    Attributes
    ----------
    container
        The path to the outermost list of blocks; None outside of any.
    inner
        The path from a block to a block of the last list inside it, without indices: ("blocks",);
        "" where there is no such list.
    tail
        What is below that block.
    """

    container: str | None
    inner: str
    tail: str


class Cut(NamedTuple):
    """A name, its place, its layer, its index in each list inside the layer, and its expert."""

    name: str
    place: Place
    layer: int | None
    sublayer: str | None
    expert: int | None


def cut(names: Iterable[str], words: Words) -> list[Cut]:
    """Cut every name at its layer, its sublayer and its expert; linear in their length.

    An integer counts blocks if at least half of its siblings share at least half of what is below
    them, and something below is a module of its own. The outermost such list is the layer, the
    lists inside it (Swin's blocks in a stage) are the sublayer.
    """
    alike: dict[_Pieces, list[tuple[str, list[str]]]] = defaultdict(list)
    for name in names:
        parts = _INDEX.split(words.unwrap(name, words.wrappers))
        alike[tuple(parts[::2])].append((name, parts[1::2]))
    axes = _axes(alike, words)
    return [
        one
        for pieces, members in alike.items()
        for one in _cut_alike(pieces, members, axes[pieces], words)
    ]


def _cut_alike(
    pieces: _Pieces, members: _Members, axes: Sequence[int], words: Words
) -> Iterator[Cut]:
    """Cut names that differ in their indices only."""
    expert = next((k for k in range(len(pieces) - 1) if _is_expert(pieces[k], words)), None)
    gone = {*axes, expert}
    kept = [k for k in range(len(pieces) - 1) if k not in gone]
    outer, inside = axes[:1], axes[1:]
    places: dict[tuple[str, ...], Place] = {}
    for name, indices in members:
        rest = tuple([indices[k] for k in kept])
        place = places.get(rest)
        if place is None:
            shown = ["" if k in gone else index for k, index in enumerate(indices)]
            place = places[rest] = _place(pieces, shown, axes)
        layer = int(indices[outer[0]]) if outer else None
        sublayer = ".".join([indices[k] for k in inside]) if inside else None
        yield Cut(name, place, layer, sublayer, None if expert is None else int(indices[expert]))


def _place(pieces: _Pieces, shown: Sequence[str], axes: Sequence[int]) -> Place:
    if not axes:
        return Place(None, "", _join(pieces, shown))
    first, last = axes[0] + 1, axes[-1] + 1
    container = _join(pieces[:first], shown).removesuffix(".")
    inner = _join(pieces[first:last], shown[first:]).strip(".") if first < last else ""
    return Place(container, inner, _join(pieces[last:], shown[last:]).removeprefix("."))


def _join(pieces: Sequence[str], shown: Sequence[str]) -> str:
    """Spell a path; an index that was cut out leaves one dot behind."""
    text = pieces[0]
    for piece, index in zip(pieces[1:], shown, strict=False):
        if index:
            text += index + piece
        else:
            text = text.removesuffix("expert_") + piece.removeprefix(".")
    return text


def _is_expert(piece: str, words: Words) -> bool:
    return piece.endswith(".expert_") or _last_word(piece) in words.experts


def _last_word(piece: str) -> str:
    return piece[:-1].rpartition(".")[2]


def _axes(alike: Mapping[_Pieces, _Members], words: Words) -> dict[_Pieces, list[int]]:
    """For each kind of name, the positions of the indices of its layer and of its sublayer."""
    by_shape, by_word = _lists(alike, words)
    axes: dict[_Pieces, list[int]] = {}
    for pieces in alike:
        inside: list[int] = []
        for k in range(min(len(pieces) - 1, _DEEPEST)):
            path = pieces[: k + 1]
            # Inside a list fewer words tell: T5's `layer` numbers the parts of a block.
            known = words.inner_lists if inside else words.lists
            if path in by_shape or (path in by_word and _last_word(path[-1]) in known):
                inside.append(k)
        axes[pieces] = inside
    return axes


def _lists(alike: Mapping[_Pieces, _Members], words: Words) -> tuple[set[_Pieces], set[_Pieces]]:
    """Paths to lists of blocks that look alike, and to those that a word alone may tell."""
    below: dict[_Pieces, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    has_modules: set[_Pieces] = set()
    kinds: dict[_Pieces, int] = {}
    for pieces, members in alike.items():
        for k in range(min(len(pieces) - 1, _DEEPEST)):
            if _is_expert(pieces[k], words):
                continue
            path, suffix = pieces[: k + 1], pieces[k + 1 :]
            if len(suffix) > 1 or suffix[0].count(".") > 1:
                has_modules.add(path)
            kind = kinds.setdefault(suffix, len(kinds))
            for index in {indices[k] for _, indices in members}:
                below[path][index].add(kind)
    by_shape = {path for path in has_modules if _are_alike(list(below[path].values()))}
    return by_shape, has_modules - by_shape


def _are_alike(siblings: Sequence[set[int]]) -> bool:
    """Whether half of several siblings share half of what they hold with another one."""
    owners = Counter(kind for kinds in siblings for kind in kinds)
    alike = sum(2 * sum(owners[kind] > 1 for kind in kinds) >= len(kinds) for kinds in siblings)
    return len(siblings) > 1 and 2 * alike >= len(siblings)
