"""One axis for pictures of nested lists: a named row for each layer and sublayer of a stack.

Whatever counts layers (findings, tables, groups) leaves a layer whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ftdiff.comparison.aggregation import natural
from ftdiff.comparison.frame import typed
from ftdiff.comparison.result import Diff
from ftdiff.tensors import Array

# Of these stacks a row's name begins with the rest of the word: "up 1.0" of `up_blocks`.
_PREFIX = re.compile(r"(?:^|\.)([a-z]{1,6})_blocks$")


@dataclass(frozen=True)
class Row:
    """A row of a picture: its name, and the layer that it is of."""

    name: int | str
    layer: int


@dataclass(frozen=True, eq=False)
class Unfolded:
    """A diff whose layers are the rows of a picture, numbered in order in each stack.

    Attributes
    ----------
    diff
        The same where there are no sublayers.
    nested
        Rows by their number, of each stack that has sublayers.
    """

    diff: Diff
    nested: Mapping[str, tuple[Row, ...]]

    def rows(self, stack: str, numbers: Iterable[int]) -> list[Row]:
        """Return the rows that have these numbers."""
        rows = self.nested.get(stack)
        return [rows[n] if rows else Row(n, n) for n in map(int, numbers)]

    def names(self, stack: str, numbers: Iterable[int]) -> list[int | str]:
        """Return what the rows are called that have these numbers."""
        return [row.name for row in self.rows(stack, numbers)]


def unfolded(diff: Diff) -> Unfolded:
    """Number the rows of pictures: what of a layer is in no sublayer follows the rest of it."""
    columns = diff.columns
    if "sublayer" not in columns or not any(columns["sublayer"]):
        return Unfolded(diff, {})
    places = [*zip(*(columns[n].tolist() for n in ("stack", "layer", "sublayer")), strict=True)]
    pairs: dict[str, set[tuple[int, str | None]]] = defaultdict(set)
    for stack, layer, sublayer in places:
        if layer is not None:
            pairs[stack].add((layer, sublayer))
    numbers: dict[str, dict[tuple[int, str | None], int]] = {}
    nested: dict[str, tuple[Row, ...]] = {}
    for stack, found in pairs.items():
        if any(sublayer is not None for _, sublayer in found):
            ordered = sorted(
                found, key=lambda pair: (pair[0], pair[1] is None, natural(pair[1] or ""))
            )
            numbers[stack] = {pair: n for n, pair in enumerate(ordered)}
            nested[stack] = tuple(Row(_name(stack, *pair), pair[0]) for pair in ordered)
    rows = [
        numbers[stack][layer, sublayer] if layer is not None and stack in numbers else layer
        for stack, layer, sublayer in places
    ]
    made: dict[str, Array] = typed({"layer": rows, "sublayer": [None] * len(rows)})
    return Unfolded(Diff({**columns, **made}, diff.about), nested)


def _name(stack: str | None, layer: int, sublayer: str | None) -> str:
    found = _PREFIX.search(stack or "")
    number = f"{layer}" if sublayer is None else f"{layer}.{sublayer}"
    return f"{found[1]} {number}" if found else number
