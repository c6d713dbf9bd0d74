"""The same tensor under another spelling: wrappers dropped, suffixes matched, never guessed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from ftdiff.naming import strip_wrappers
from ftdiff.naming.towers import below_tower, same_tower
from ftdiff.naming.translation import translations

#: A layer of experts as newer classes of Mixtral's family name it, and as their files do.
_SPARSE = (".mlp.", ".block_sparse_moe.")


class Spellings:
    """Names of a base, to be found under the spelling of another file.

    A name is found if it is the same, or the same without wrapper words, or the same in another
    public spelling of the architecture, or if its longest common suffix with the base's names is
    unique, or if it is the same but for the words of its part of a pipeline. Shapes, where given,
    have to agree up to the number of rows, so that a grown vocabulary is still found. A name of one
    part of a pipeline is never found in another.

    Examples
    --------
    >>> names = Spellings({"model.layers.0.mlp.up_proj.weight": (8, 4)})
    >>> names.find("base_model.model.model.layers.0.mlp.up_proj.weight")
    'model.layers.0.mlp.up_proj.weight'
    >>> names.find("layers.1.mlp.up_proj.weight") is None
    True
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        #: The dialect by which each name was found that is spelled as in another.
        self.translated: dict[str, str] = {}
        self._bare: dict[str, list[str]] = defaultdict(list)
        self._below: dict[str, list[str]] = defaultdict(list)
        self._ends: dict[str, list[str]] = defaultdict(list)
        for name in shapes:
            self._bare[strip_wrappers(name)].append(name)
            self._below[below_tower(name)].append(name)
            for end in _ends(name):
                self._ends[end].append(name)

    def find(self, name: str, shape: tuple[int, ...] | None = None) -> str | None:
        """Return the base's spelling of `name`; None where there is none, or more than one."""
        if name in self._shapes:
            return name
        plain = strip_wrappers(name)
        sparse = (plain, plain.replace(*_SPARSE), plain.replace(*_SPARSE[::-1]))
        same = next((held for one in sparse if (held := self._bare.get(one))), [])
        bare = self._fitting(same, shape)
        if len(bare) == 1:
            return bare[0]
        there = {
            spelling: one.dialect
            for one in translations(name)
            if one.is_same and (spelling := one.names[0]) in self._shapes
        }
        if there:
            fitting = self._fitting(there, shape)
            if len(fitting) != 1:
                return None
            if there[fitting[0]]:
                self.translated[name] = there[fitting[0]]
            return fitting[0]
        for end in (name, *_ends(name)):
            found = self._ends.get(end, ()) or ([end] if end in self._shapes else ())
            if found:
                break
        else:
            found = self._below.get(below_tower(name), ())
        fitting = [each for each in self._fitting(found, shape) if same_tower(name, each)]
        return fitting[0] if len(fitting) == 1 else None

    def _fitting(self, names: Iterable[str], shape: tuple[int, ...] | None) -> list[str]:
        if shape is None:
            return list(names)
        return [name for name in names if self._shapes[name][1:] == shape[1:]]


def _ends(name: str) -> Iterator[str]:
    """Yield the suffixes that still say which tensor it is: down to the first number in it."""
    words = name.split(".")
    numbers = [i for i, word in enumerate(words) if word.isdecimal()]
    if not numbers:
        return
    # the word before the first number names the list of layers; shorter ends are ambiguous
    for i in range(1, max(1, numbers[0])):
        yield ".".join(words[i:])


def pair_names(
    base: Mapping[str, tuple[int, ...]], tuned: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Pair two sets of names one to one.

    Parameters
    ----------
    base, tuned
        Shapes by name.

    Returns
    -------
    dict
        Base name by tuned name. A tuned name that fits no free base name, or whose base name is
        wanted by two, is left out.
    """
    pairs = {name: name for name in tuned if name in base}
    taken = set(pairs.values())
    free = Spellings({name: shape for name, shape in base.items() if name not in taken})
    wanted: dict[str, list[str]] = defaultdict(list)
    for name, shape in tuned.items():
        if name not in pairs and (found := free.find(name, shape)) is not None:
            wanted[found].append(name)
    pairs.update({names[0]: found for found, names in wanted.items() if len(names) == 1})
    return {**pairs, **_under_one_prefix(base, tuned, pairs)}


def _under_one_prefix(
    base: Mapping[str, tuple[int, ...]],
    tuned: Mapping[str, tuple[int, ...]],
    pairs: Mapping[str, str],
) -> dict[str, str]:
    """Pair what is outside the layers, where all names inside them have the same words in front."""
    rest = [name for name in tuned if name not in pairs]
    if not rest:
        return {}
    fronts = {cut(name, held) for name, held in pairs.items() if _is_numbered(held)}
    mine, theirs = next(iter(fronts)) if len(fronts) == 1 else ("", "")
    if not mine or _is_numbered(mine):
        return {}
    taken = {*pairs.values()}
    found: dict[str, str] = {}
    for name in rest:
        tail = name.removeprefix(f"{mine}.")
        spelled = dict.fromkeys((f"{theirs}.{tail}" if theirs else tail, tail))
        held = [one for one in spelled if tail != name and one in base and one not in taken]
        if len(held) == 1 and base[held[0]][1:] == tuned[name][1:]:
            found[name] = held[0]
            taken.add(held[0])
    return found


def cut(name: str, other: str) -> tuple[str, str]:
    """Return the words of two names before those that they share at the end.

    >>> cut("model.language_model.layers.0.x.weight", "model.layers.0.x.weight")
    ('model.language_model', 'model')
    """
    mine, theirs = name.split("."), other.split(".")
    while mine and theirs and mine[-1] == theirs[-1]:
        mine.pop()
        theirs.pop()
    return ".".join(mine), ".".join(theirs)


def _is_numbered(name: str) -> bool:
    return any(word.isdecimal() for word in name.split("."))
