"""The tables of `dialects/`: what each module of one spelling is called in the other, both ways.

To add two spellings: a table in `dialects/<architecture>.toml`, no Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
class Word:
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
    modules: Mapping[str, Mapping[str, Sequence[Word]]]
    tensors: Mapping[str, Mapping[str, Sequence[Word]]]

    def of(self, name: str) -> Iterator[Word]:
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
                found = [Word((tail,))] if inside is None else self._inside(inside, tail)
                for word in found:
                    names = tuple(f"{there}.{each}" for each in word.names)
                    yield Word(names, word.rows, word.part_of)
            return
        yield from self._inside("outside", name)

    @cached_property
    def heads(self) -> frozenset[str]:
        """The first words of all names that it knows."""
        outside = (self.modules.get("outside", {}), self.tensors.get("outside", {}))
        return frozenset(
            name.partition(".")[0] for names in (self.blocks, *outside) for name in names
        )

    def _inside(self, kind: str, tail: str) -> list[Word]:
        found = list(self.tensors.get(kind, {}).get(tail, ()))
        module, _, param = tail.rpartition(".")
        for word in self.modules.get(kind, {}).get(module, ()):
            names = tuple(f"{each}.{param}" for each in word.names)
            found.append(Word(names, word.rows, word.part_of))
        return found


@cache
def read_dialects() -> tuple[Dialect, ...]:
    """Read all tables, each both ways."""
    return tuple(
        _dialect(name, table, way)
        for name, table in tables().items()
        if name != "towers"
        for way in (0, 1)
    )


@cache
def tables() -> Mapping[str, Any]:
    """Read all files of `dialects/`, by name."""
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


def _words(entries: Mapping[str, Any], way: int) -> Mapping[str, Sequence[Word]]:
    found: dict[str, list[Word]] = defaultdict(list)
    for first, told in entries.items():
        rows = told.get("rows", SAME) if isinstance(told, dict) else SAME
        second = told["name"] if isinstance(told, dict) else told
        if isinstance(second, str):
            pair = (first, second)
            found[pair[way]].append(Word((pair[1 - way],), rows))
        elif way == 0:
            found[first].append(Word(tuple(second)))
        else:
            for index, part in enumerate(second):
                found[part].append(Word((first,), SAME, index))
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
