"""Names that one architecture has in two public spellings, both ways and below any tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ftdiff.naming.dialect_tables import SAME, read_dialects
from ftdiff.naming.towers import prefixes, read_towers


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


def is_translated(name: str, other: str) -> bool:
    """Say whether two names are one in two public spellings.

    >>> is_translated("unet.conv_in.weight", "model.diffusion_model.input_blocks.0.0.weight")
    True
    >>> is_translated("unet.conv_in.weight", "conv_in.weight")
    False
    """
    return any(one.dialect and other in one.names for one in translations(name))


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
    for tower, words in prefixes().get(start, {}).items():
        for prefix in words:
            if name.startswith(f"{prefix}."):
                found.append((tower, name[len(prefix) + 1 :]))
                told = told or prefix != "transformer"
    if not told:
        found += [(tower, name) for tower in read_towers()]
    return [(tower, bare) for tower, bare in found if bare.partition(".")[0] in _heads()[tower]]


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
def _heads() -> Mapping[str, frozenset[str]]:
    """Return the first words of names that the tables know, by tower."""
    found: dict[str, set[str]] = {tower: set() for tower in read_towers()}
    for dialect in read_dialects():
        for tower in dialect.towers:
            found[tower].update(dialect.heads)
    return {tower: frozenset(heads) for tower, heads in found.items()}
