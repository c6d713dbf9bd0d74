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
    """The path to a name's list of blocks, None outside of any, and what is below its block."""

    container: str | None
    tail: str


class Cut(NamedTuple):
    """A name, its place (which other layers and experts share), its layer and its expert."""

    name: str
    place: Place
    layer: int | None
    expert: int | None


def cut(names: Iterable[str], words: Words) -> list[Cut]:
    """Cut every name at its layer and its expert; linear in their length.

    An integer counts blocks if at least half of its siblings share at least half of what is below
    them, and something below is a module of its own. The outermost such list is the layer. Where a
    list holds hardly more than further lists (Swin's stages), all are flattened into one axis.
    """
    alike: dict[_Pieces, list[tuple[str, list[str]]]] = defaultdict(list)
    for name in names:
        parts = _INDEX.split(words.unwrap(name, words.wrappers))
        alike[tuple(parts[::2])].append((name, parts[1::2]))
    axes = _axes(alike, words)
    raw = [
        one
        for pieces, members in alike.items()
        for one in _cut_alike(pieces, members, axes[pieces], words)
    ]
    ranks = _ranks((place.container, layer) for _, place, layer, _ in raw)
    return [
        Cut(name, place, ranks[place.container][layer] if layer else None, expert)
        for name, place, layer, expert in raw
    ]


def _cut_alike(
    pieces: _Pieces, members: _Members, axes: Sequence[int], words: Words
) -> Iterator[tuple[str, Place, tuple[int, ...], int | None]]:
    """Cut names that differ in their indices only."""
    expert = next((k for k in range(len(pieces) - 1) if _is_expert(pieces[k], words)), None)
    gone = {*axes, expert}
    kept = [k for k in range(len(pieces) - 1) if k not in gone]
    places: dict[tuple[str, ...], Place] = {}
    for name, indices in members:
        rest = tuple([indices[k] for k in kept])
        place = places.get(rest)
        if place is None:
            shown = ["" if k in gone else index for k, index in enumerate(indices)]
            place = places[rest] = _place(pieces, shown, axes)
        layer = tuple([int(indices[k]) for k in axes])
        yield name, place, layer, None if expert is None else int(indices[expert])


def _place(pieces: _Pieces, shown: Sequence[str], axes: Sequence[int]) -> Place:
    if not axes:
        return Place(None, _join(pieces, shown))
    first, last = axes[0], axes[-1] + 1
    container = _join(pieces[: first + 1], shown).removesuffix(".")
    return Place(container, _join(pieces[last:], shown[last:]).removeprefix("."))


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
    """For each kind of name, the positions of the indices that make up its layer."""
    lists = _lists(alike, words)
    nested: dict[_Pieces, list[int]] = {}
    holds: Counter[_Pieces] = Counter()
    passes: Counter[_Pieces] = Counter()
    for pieces in alike:
        inside = [k for k in range(min(len(pieces) - 1, _DEEPEST)) if pieces[: k + 1] in lists]
        by_word = [k for k in inside if lists[pieces[: k + 1]] == "word"]
        # A list known by its word alone counts only where no list is around it.
        inside = [k for k in inside if k not in by_word or k == inside[0]]
        nested[pieces] = inside
        for k in inside:
            holds[pieces[: k + 1]] += 1
            passes[pieces[: k + 1]] += k != inside[-1]
    axes = {}
    for pieces, inside in nested.items():
        depth = 1
        while depth < len(inside):
            outer = pieces[: inside[depth - 1] + 1]
            if 2 * passes[outer] < holds[outer]:
                break
            depth += 1
        axes[pieces] = inside[:depth]
    return axes


def _lists(alike: Mapping[_Pieces, _Members], words: Words) -> dict[_Pieces, str]:
    """Paths to lists of blocks, with how each was known: its "shape" or its "word"."""
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
    lists = {}
    for path in has_modules:
        if _are_alike(list(below[path].values())):
            lists[path] = "shape"
        elif _last_word(path[-1]) in words.lists:
            lists[path] = "word"
    return lists


def _are_alike(siblings: Sequence[set[int]]) -> bool:
    """Whether half of several siblings share half of what they hold with another one."""
    owners = Counter(kind for kinds in siblings for kind in kinds)
    alike = sum(2 * sum(owners[kind] > 1 for kind in kinds) >= len(kinds) for kinds in siblings)
    return len(siblings) > 1 and 2 * alike >= len(siblings)


def _ranks(
    layers: Iterable[tuple[str | None, tuple[int, ...]]],
) -> dict[str | None, dict[tuple[int, ...], int]]:
    """Number the blocks of each list: by their own index, or in order where lists are nested.

    What stands between an outer block's inner ones and the next (a downsampling) goes to the last.
    """
    seen: dict[str | None, set[tuple[int, ...]]] = defaultdict(set)
    for container, layer in layers:
        seen[container].add(layer)
    ranks: dict[str | None, dict[tuple[int, ...], int]] = {}
    for container, places in seen.items():
        if all(len(place) == 1 for place in places):
            ranks[container] = {place: place[0] for place in places}
            continue
        outer = {place[:n] for place in places for n in range(1, len(place))}
        number = ranks[container] = {}
        for rank, leaf in enumerate(sorted(places - outer)):
            number.update({leaf[:n]: rank for n in range(1, len(leaf) + 1)})
    return ranks
