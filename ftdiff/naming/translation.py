"""Names that one architecture has in two public spellings: the tables of `dialects/`, both ways.

To add two spellings: a table in `dialects/<architecture>.toml`, no Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from itertools import product
from typing import Any

#: How the rows of one spelling's tensor lie against the other's.
SAME, SWAPPED, SWAPPED_IF_LAST, TURNED = "same", "swapped", "swapped if last", "turned"

_PLACEHOLDER = re.compile(r"\{([^}]*)\}")
_TERM = re.compile(r"([+-]?)(\d*)([a-z]?)")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@dataclass(frozen=True)
class Translation:
    """One name in the other spelling.

    Attributes
    ----------
    names
        Of one tensor; of several, where this one is them, rows under rows.
    rows
        "same", or how the rows of the tensor become the other's: the halves "swapped" ("swapped if
        last": where there are two of them), the matrix "turned".
    part_of
        This tensor is that one of several whose rows make up the other; None where it is all of it.
    dialect
        The table.
    """

    names: tuple[str, ...]
    rows: str = SAME
    part_of: int | None = None
    dialect: str = ""

    @property
    def is_same(self) -> bool:
        """Whether it is the same tensor, entry by entry."""
        return len(self.names) == 1 and self.rows == SAME and self.part_of is None


@dataclass(frozen=True)
class _Word:
    """What a module's name, or a tensor's, becomes."""

    names: tuple[str, ...]
    rows: str = SAME
    part_of: int | None = None


@dataclass(frozen=True)
class Dialect:
    """One table, read one way.

    Attributes
    ----------
    name, sides
        The file's; how the spelling that it reads and the one that it gives are called.
    towers
        Which parts of a pipeline are spelled so.
    blocks
        Paths to blocks, "#" for a number that is the same in both, to what they become and the
        kind of module that is inside, None where all below is spelled alike.
    modules, tensors
        By kind ("outside" for what is in no block): names inside a block.
    """

    name: str
    sides: tuple[str, str]
    towers: tuple[str, ...]
    blocks: Mapping[str, Sequence[tuple[str, str | None]]]
    modules: Mapping[str, Mapping[str, Sequence[_Word]]]
    tensors: Mapping[str, Mapping[str, Sequence[_Word]]]

    def of(self, name: str) -> Iterator[_Word]:
        """Yield what a name becomes, without the tower's own words."""
        words = name.split(".")
        if words[0] not in self.heads:
            return
        for n in range(len(words) - 1, 0, -1):
            head = ".".join(words[:n])
            places = self.blocks.get(head)
            if places is None:
                places = self.blocks.get(_NUMBER.sub("#", head))
            if places is None:
                continue
            for there, inside in places:
                for number in _NUMBER.findall(head) if "#" in there else ():
                    there = there.replace("#", number, 1)
                tail = ".".join(words[n:])
                found = [_Word((tail,))] if inside is None else self._inside(inside, tail)
                for word in found:
                    names = tuple(f"{there}.{each}" for each in word.names)
                    yield _Word(names, word.rows, word.part_of)
            return
        yield from self._inside("outside", name)

    @cached_property
    def heads(self) -> frozenset[str]:
        """The first words of all names that it knows."""
        outside = (self.modules.get("outside", {}), self.tensors.get("outside", {}))
        return frozenset(
            name.partition(".")[0] for names in (self.blocks, *outside) for name in names
        )

    def _inside(self, kind: str, tail: str) -> list[_Word]:
        found = list(self.tensors.get(kind, {}).get(tail, ()))
        module, _, param = tail.rpartition(".")
        for word in self.modules.get(kind, {}).get(module, ()):
            names = tuple(f"{each}.{param}" for each in word.names)
            found.append(_Word(names, word.rows, word.part_of))
        return found


def translations(name: str) -> Iterator[Translation]:
    """Yield what a name may be called in another spelling, or in its own, whatever its tower's is.

    Examples
    --------
    >>> name = "unet.down_blocks.1.attentions.0.proj_in.weight"
    >>> next(translations(name)).names
    ('model.diffusion_model.input_blocks.4.1.proj_in.weight',)
    >>> next(translations("model.layers.0.self_attn.q_proj.weight"), None) is None
    True
    """
    towers = read_towers()
    for tower, bare in _below_towers(name):
        starts = (*(f"{prefix}." for prefix in towers[tower]), "")
        known = False
        for one in _spelled_otherwise(tower, bare):
            known = True
            for start in starts:
                yield replace(one, names=tuple(start + each for each in one.names))
        if known:
            yield from (Translation((start + bare,)) for start in starts if start + bare != name)


def respelled(name: str) -> Iterator[tuple[str, Translation]]:
    """Yield the tower of a name, and what the name is called there, without the tower's words."""
    for tower, bare in _below_towers(name):
        for one in _spelled_otherwise(tower, bare):
            yield tower, one


def _spelled_otherwise(tower: str, bare: str) -> Iterator[Translation]:
    for dialect in read_dialects():
        if tower in dialect.towers:
            for word in dialect.of(bare):
                yield Translation(word.names, word.rows, word.part_of, dialect.name)


def _below_towers(name: str) -> list[tuple[str, str]]:
    """Return the towers that a name may be of, and the name without their words."""
    start = name.partition(".")[0]
    found = []
    told = False
    for tower, prefixes in _prefixes().get(start, {}).items():
        for prefix in prefixes:
            if name.startswith(f"{prefix}."):
                found.append((tower, name[len(prefix) + 1 :]))
                told = told or prefix != "transformer"
    if not told:
        found += [(tower, name) for tower in read_towers()]
    return [(tower, bare) for tower, bare in found if bare.partition(".")[0] in _heads()[tower]]


def tower_of(name: str) -> str:
    """Return the part of a pipeline that a name says it belongs to; "" where it says nothing.

    >>> tower_of("text_encoder_2.text_model.final_layer_norm.weight"), tower_of("lm_head.weight")
    ('text_2', '')
    """
    for tower, prefixes in _prefixes().get(name.partition(".")[0], {}).items():
        for prefix in prefixes:
            # a language model's own wrapper has the same name
            if prefix != "transformer" and name.startswith(f"{prefix}."):
                return tower
    return ""


def same_tower(name: str, other: str) -> bool:
    """Say whether two names are not known to be of different parts of a pipeline."""
    return len({tower_of(name), tower_of(other)} - {""}) < 2


def sides_of(dialect: str) -> tuple[str, str]:
    """Return how the two spellings of a table are called."""
    return next(one.sides for one in read_dialects() if one.name == dialect)


@cache
def words() -> frozenset[str]:
    """Return the words of both spellings, those of autoencoders aside, which nobody flattens."""
    found: set[str] = set()
    for dialect in read_dialects():
        if "vae" not in dialect.towers:
            inside = [*dialect.modules.values(), *dialect.tensors.values()]
            paths = (*dialect.blocks, *(path for table in inside for path in table))
            found.update(word for path in paths for word in path.split("."))
    return frozenset(word for word in found if not word.isdecimal() and word != "#")


@cache
def read_towers() -> Mapping[str, Sequence[str]]:
    """Read the names of pipelines' parts."""
    towers: Mapping[str, Sequence[str]] = _tables()["towers"]
    return towers


@cache
def _prefixes() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return the towers and their prefixes by the prefixes' first word."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for tower, prefixes in read_towers().items():
        for prefix in prefixes:
            found[prefix.partition(".")[0]][tower].append(prefix)
    return found


@cache
def _heads() -> Mapping[str, frozenset[str]]:
    """Return the first words of names that the tables know, by tower."""
    found: dict[str, set[str]] = {tower: set() for tower in read_towers()}
    for dialect in read_dialects():
        for tower in dialect.towers:
            found[tower].update(dialect.heads)
    return {tower: frozenset(heads) for tower, heads in found.items()}


@cache
def read_dialects() -> tuple[Dialect, ...]:
    """Read all tables, each both ways."""
    return tuple(
        _dialect(name, table, way)
        for name, table in _tables().items()
        if name != "towers"
        for way in (0, 1)
    )


@cache
def _tables() -> Mapping[str, Any]:
    import tomllib

    folder = files("ftdiff") / "naming" / "dialects"
    found = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return {
        entry.name.removesuffix(".toml"): tomllib.loads(entry.read_text("utf-8"))
        for entry in found
        if entry.name.endswith(".toml")
    }


def _dialect(name: str, table: Mapping[str, Any], way: int) -> Dialect:
    """Return a table as it is read from its first spelling (0), or from its second (1)."""
    blocks: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for block in table.get("blocks", ()):
        for numbers in _counted(block.get("ranges", {})):
            pair = [_spelled(pattern, numbers) for pattern in block["names"]]
            blocks[pair[way]].append((pair[1 - way], block.get("inside")))
    words = {
        level: {kind: _words(entries, way) for kind, entries in table.get(level, {}).items()}
        for level in ("modules", "tensors")
    }
    sides = (table["sides"][way], table["sides"][1 - way])
    return Dialect(name, sides, tuple(table["towers"]), blocks, words["modules"], words["tensors"])


def _words(entries: Mapping[str, Any], way: int) -> Mapping[str, Sequence[_Word]]:
    found: dict[str, list[_Word]] = defaultdict(list)
    for first, told in entries.items():
        rows = told.get("rows", SAME) if isinstance(told, dict) else SAME
        second = told["name"] if isinstance(told, dict) else told
        if isinstance(second, str):
            pair = (first, second)
            found[pair[way]].append(_Word((pair[1 - way],), rows))
        elif way == 0:
            found[first].append(_Word(tuple(second)))
        else:
            for index, part in enumerate(second):
                found[part].append(_Word((first,), SAME, index))
    return found


def _counted(ranges: Mapping[str, int]) -> Iterator[dict[str, int]]:
    for values in product(*(range(stop) for stop in ranges.values())):
        yield dict(zip(ranges, values, strict=True))


def _spelled(pattern: str, numbers: Mapping[str, int]) -> str:
    """Fill a pattern's numbers in; "#" for one that may be any.

    >>> _spelled("input_blocks.{3i+j+1}.0", {"i": 1, "j": 1}), _spelled("blocks.{n}", {})
    ('input_blocks.5.0', 'blocks.#')
    """

    def value(found: re.Match[str]) -> str:
        told = found[1]
        if told.isalpha() and told not in numbers:
            return "#"
        total = 0
        for sign, factor, letter in _TERM.findall(told):
            if factor or letter:
                term = int(factor or 1) * (numbers[letter] if letter else 1)
                total += -term if sign == "-" else term
        return str(total)

    return _PLACEHOLDER.sub(value, pattern)
