"""One axis for pictures: a named row for each layer and sublayer of a stack, as people call it.

Whatever counts layers (findings, tables, groups) leaves a layer whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ftdiff.comparison.aggregation import natural
from ftdiff.comparison.frame import there, typed
from ftdiff.comparison.result import Diff
from ftdiff.naming.stack_order import lone_word, row_word
from ftdiff.tensors import Array


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
    words
        The word before the number, of each stack whose rows have one: "up", "double".
    """

    diff: Diff
    nested: Mapping[str, tuple[Row, ...]]
    words: Mapping[str, str]

    def rows(self, stack: str, numbers: Iterable[int]) -> list[Row]:
        """Return the rows that have these numbers."""
        rows, word = self.nested.get(stack), self.words.get(stack, "")
        return [
            rows[n] if rows else Row(f"{word} {n}" if word else n, n) for n in map(int, numbers)
        ]

    def names(self, stack: str, numbers: Iterable[int]) -> list[int | str]:
        """Return what the rows are called that have these numbers."""
        return [row.name for row in self.rows(stack, numbers)]


def unfolded(diff: Diff) -> Unfolded:
    """Number the rows of pictures: what of a layer is in no sublayer follows the rest of it.

    In stacks whose rows begin with a word, a last index that is 0 everywhere numbers nothing, and
    is left out: `up_blocks.1.attentions.0` with a single transformer block in it is "up 1.0".
    """
    columns = diff.columns
    stacks = [*dict.fromkeys(one for one in columns["stack"].tolist() if one is not None)]
    words = {stack: word for stack in stacks if (word := row_word(stack, stacks))}
    if stacks == [""] and (word := lone_word(columns["tensor"][there(columns["layer"])])):
        words = {"": word}
    if "sublayer" not in columns or not any(columns["sublayer"]):
        return Unfolded(diff, {}, words)
    places = [*zip(*(columns[n].tolist() for n in ("stack", "layer", "sublayer")), strict=True)]
    short = _shortened(
        [(s, sub) for s, layer, sub in places if layer is not None and sub and s in words]
    )
    places = [(stack, layer, short.get((stack, sub), sub)) for stack, layer, sub in places]
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
            nested[stack] = tuple(Row(_name(words, stack, *p), p[0]) for p in ordered)
    rows = [
        numbers[stack][layer, sublayer] if layer is not None and stack in numbers else layer
        for stack, layer, sublayer in places
    ]
    made: dict[str, Array] = typed({"layer": rows, "sublayer": [None] * len(rows)})
    return Unfolded(Diff({**columns, **made}, diff.about), nested, words)


def _shortened(found: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str | None]:
    """Return sublayers without their last index, where that is 0 at the end of all the deepest."""
    depth: dict[str, int] = defaultdict(int)
    for stack, sublayer in found:
        depth[stack] = max(depth[stack], sublayer.count(".") + 1)
    deepest = {(stack, sub) for stack, sub in found if sub.count(".") + 1 == depth[stack]}
    if any(sub.rpartition(".")[2] != "0" for _, sub in deepest):
        return {}
    return {(stack, sub): sub.rpartition(".")[0] or None for stack, sub in deepest}


def _name(words: Mapping[str, str], stack: str, layer: int, sublayer: str | None) -> str:
    number = f"{layer}" if sublayer is None else f"{layer}.{sublayer}"
    return f"{words[stack]} {number}" if stack in words else number
