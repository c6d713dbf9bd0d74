"""Names of many architectures with the layer that the module tree says each is in."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.conftest import FIXTURES

_NUMBERS = re.compile(r"\[([\d,-]+)\]|<([\d,-]+)>|\{([\d,-]+)\}")


class Named(NamedTuple):
    """A name, its layer and sublayer in the module tree, and whether it is a matrix."""

    name: str
    layer: int | None
    sublayer: str | None
    matrix: bool


@cache
def trees() -> dict[str, tuple[Named, ...]]:
    """Return the names of each type (see `fixtures/names/make_trees.py`)."""
    found: dict[str, list[Named]] = {}
    for path in sorted((FIXTURES / "names" / "trees").glob("*.txt")):
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("# "):
                names = found[line[2:]] = []
            else:
                names.extend(_expanded(line.removeprefix("- "), not line.startswith("- ")))
    return {kind: tuple(names) for kind, names in found.items()}


def _expanded(pattern: str, matrix: bool) -> Iterator[Named]:
    sides = [*_NUMBERS.finditer(pattern)]
    pieces = _NUMBERS.sub("\0", pattern).split("\0")
    for numbers in itertools.product(*(_numbers(side[side.lastindex or 0]) for side in sides)):
        name = pieces[0] + "".join(map(str.__add__, numbers, pieces[1:]))
        layer = [number for number, side in zip(numbers, sides, strict=True) if side[1]]
        inner = [number for number, side in zip(numbers, sides, strict=True) if side[2]]
        yield Named(name, int(layer[0]) if layer else None, ".".join(inner) or None, matrix)


def _numbers(spans: str) -> list[str]:
    ends = (span.split("-") for span in spans.split(","))
    return [str(n) for end in ends for n in range(int(end[0]), int(end[-1]) + 1)]
