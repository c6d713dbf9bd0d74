"""Learn from all names of a file which of their integers count blocks, and cut the names there."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ftdiff.address.words import Words

# A word that may count blocks or experts. Longer integers index nothing that exists, and would not
# fit the integers of a frame.
_INDEX = re.compile(r"(?<![^.])((?:expert_)?(?:0|[1-9][0-9]{0,8}))(?![^.])")
# Integers further in are never asked whether they count blocks: hostile names stay linear.
_DEEPEST = 8

# A name is cut at its integers into pieces and indices: "h.3.mlp" is ("h.", ".mlp") and ("3",).
# Names with equal pieces are alike; pieces[: k + 1] is the path to the list that index k counts.
_Pieces = tuple[str, ...]
_Alike = Mapping[_Pieces, Sequence[tuple[str, tuple[str, ...]]]]


class Cut(NamedTuple):
    """A name, the path to its list of blocks ("" outside), its layer, expert, and what is below."""

    name: str
    container: str
    layer: int | None
    expert: int | None
    tail: str


def cut(names: Iterable[str], words: Words) -> list[Cut]:
    """Cut every name at its layer and its expert, in the order given; linear in their length.

    An integer counts blocks if at least half of its siblings share at least half of what is below
    them, and something below is a module of its own. The outermost such list is the layer. Where a
    list holds hardly more than further lists (Swin's stages), all are flattened into one axis.
    """
    ordered = list(names)
    alike: dict[_Pieces, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for name in ordered:
        parts = _INDEX.split(words.unwrap(name, words.wrappers))
        alike[tuple(parts[::2])].append((name, tuple(parts[1::2])))
    axes = _axes(alike, words)
    raw = {
        one.name: one
        for pieces, members in alike.items()
        for one in _cut_alike(pieces, members, axes[pieces], words)
    }
    ranks = _ranks(raw.values())
    return [
        Cut(
            name,
            one.container,
            ranks[one.container][one.layer] if one.layer else None,
            one.expert,
            one.tail,
        )
        for name, one in ((name, raw[name]) for name in ordered)
    ]


class _Raw(NamedTuple):
    name: str
    container: str
    layer: tuple[int, ...]
    expert: int | None
    tail: str


def _cut_alike(
    pieces: _Pieces,
    members: Sequence[tuple[str, tuple[str, ...]]],
    axes: Sequence[int],
    words: Words,
) -> Iterator[_Raw]:
    """Cut names that differ in their indices only."""
    after = axes[-1] + 1 if axes else 0
    experts = [k for k in range(len(pieces) - 1) if _is_expert(pieces, members, k, words)]
    expert = experts[0] if experts else None
    kept = [k for k in range(len(pieces) - 1) if k not in axes and k != expert]
    spelled: dict[tuple[str, ...], tuple[str, str]] = {}
    for name, indices in members:
        rest = tuple([indices[k] for k in kept])
        if rest not in spelled:
            shown = ["" if k == expert or k in axes else index for k, index in enumerate(indices)]
            spelled[rest] = (
                _join(pieces[: axes[0] + 1], shown) if axes else "",
                _join(pieces[after:], shown[after:]),
            )
        container, tail = spelled[rest]
        yield _Raw(
            name,
            container,
            tuple([int(indices[k].removeprefix("expert_")) for k in axes]),
            None if expert is None else int(indices[expert].removeprefix("expert_")),
            tail,
        )


def _join(pieces: Sequence[str], indices: Sequence[str]) -> str:
    """Spell a path; an index that was cut out leaves one dot behind."""
    parts = [pieces[0]]
    for piece, index in zip(pieces[1:], indices, strict=False):
        parts += [index, piece if index else piece.removeprefix(".")]
    return "".join(parts).strip(".")


def _is_expert(
    pieces: _Pieces, members: Sequence[tuple[str, tuple[str, ...]]], k: int, words: Words
) -> bool:
    return _last_word(pieces[k]) in words.experts or members[0][1][k].startswith("expert_")


def _last_word(piece: str) -> str:
    return piece[:-1].rpartition(".")[2]


def _axes(alike: _Alike, words: Words) -> dict[_Pieces, list[int]]:
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


def _lists(alike: _Alike, words: Words) -> dict[_Pieces, str]:
    """Paths to lists of blocks, with how each was known: its "shape" or its "word"."""
    below: dict[_Pieces, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    has_modules: set[_Pieces] = set()
    kinds: dict[_Pieces, int] = {}
    for pieces, members in alike.items():
        for k in range(min(len(pieces) - 1, _DEEPEST)):
            if _is_expert(pieces, members, k, words):
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


def _ranks(raw: Iterable[_Raw]) -> dict[str, dict[tuple[int, ...], int]]:
    """Number the blocks of each list: by their own index, or in order where lists are nested.

    What stands between an outer block's inner ones and the next (a downsampling) goes to the last.
    """
    seen: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for one in raw:
        if one.layer:
            seen[one.container].add(one.layer)
    ranks: dict[str, dict[tuple[int, ...], int]] = {}
    for container, places in seen.items():
        if all(len(place) == 1 for place in places):
            ranks[container] = {place: place[0] for place in places}
            continue
        outer = {place[:n] for place in places for n in range(1, len(place))}
        number = ranks[container] = {}
        for rank, leaf in enumerate(sorted(places - outer)):
            number.update({leaf[:n]: rank for n in range(1, len(leaf) + 1)})
    return ranks
