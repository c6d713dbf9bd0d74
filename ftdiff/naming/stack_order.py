"""The stacks of a model in its own order, as people call them: `stack_words.toml`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

#: Parts that are read from pixels or sound: what follows them is the language model.
_SENSES = ("vision", "audio")
_MAIN, _TEXT, _DOUBLE, _SINGLE = "", "text", "double", "single"
#: Parts whose stacks are called as the file calls them: their name says what it is.
_OWN = (None, _MAIN, "joint", "next", "vae")


@dataclass(frozen=True)
class _Words:
    parts: Mapping[str, Sequence[str]]
    blocks: Mapping[str, Sequence[str]]
    plain: frozenset[str]

    def part(self, stack: str) -> str | None:
        """Return the part that the first word with one tells; None where none has."""
        return next((p for word in stack.split(".") if (p := _fits(self.parts, word)) is not None),
                    None)  # fmt: skip

    def block(self, stack: str) -> str:
        """Return the list of blocks that the last word with one tells, or ""."""
        found = [b for word in stack.split(".") if (b := _fits(self.blocks, word)) is not None]
        return found[-1] if found else ""

    def rest(self, stack: str) -> list[str]:
        """Return the words that tell a stack from others of its part and blocks."""
        words = stack.split(".")
        return [
            word
            for word in words
            if word
            and _fits(self.blocks, word) is None
            and word not in self.plain
            and not (word.isdecimal() and self.block(stack))
            and (self.part(word) is None or word[-1:].isdecimal())
        ]


def stack_order(stacks: Iterable[str]) -> list[str]:
    """Sort stacks as a model has them: down, mid, up; double, single; vision, language; ….

    What no table knows stands beside the main stack, by its name.

    >>> stack_order(["up_blocks", "text", "mid_block", "down_blocks"])
    ['down_blocks', 'mid_block', 'up_blocks', 'text']
    >>> stack_order(["", "decoder", "vision", "encoder"])
    ['vision', 'encoder', '', 'decoder']
    """
    words = _read()
    parts, blocks = [*words.parts], ["", *words.blocks]

    def place(stack: str) -> tuple[int, int, list[tuple[int, int | str]]]:
        part = words.part(stack) or _MAIN
        return parts.index(part), blocks.index(words.block(stack)), _natural(stack)

    return sorted(dict.fromkeys(stacks), key=place)


def stack_labels(stacks: Collection[str]) -> dict[str, str]:
    """Return what the stacks of one model are called, no two alike; "" for a lone unnamed one.

    >>> stack_labels(["unet.down_blocks", "unet.mid_block.attentions", "text"])
    {'unet.down_blocks': 'down', 'unet.mid_block.attentions': 'mid', 'text': 'text encoder'}
    >>> stack_labels(["", "single_transformer_blocks"]), stack_labels(["vision", ""])
    ({'': 'double', 'single_transformer_blocks': 'single'}, {'vision': 'vision', '': 'language'})
    """
    every = [*dict.fromkeys(stacks)]
    short = {stack: _label(stack, every) for stack in every}
    longer = {stack: _label(stack, every, part=True) for stack in every}
    if len({*short.values()}) < len(every):
        short = longer
    twice = Counter(short.values())
    return {stack: stack if twice[name] > 1 else name for stack, name in short.items()}


def row_word(stack: str, stacks: Collection[str]) -> str:
    """Return the word before the number of a block, as in "up 1" and "double 3"; mostly "".

    >>> row_word("unet.up_blocks", ["unet.up_blocks"]), row_word("", ["", "single_blocks"])
    ('up', 'double')
    """
    block = _block(stack, stacks)
    if block or not stack:
        return block
    found = re.search(r"(?:^|\.)([a-z]{1,6})_blocks$", stack)
    return found[1] if found else ""


def lone_word(names: Iterable[str]) -> str:
    """Return the word before the number of a block in the only stack of a file, by its tensors.

    >>> lone_word(["unet.up_blocks.1.attentions.0.proj_in.weight"]), lone_word(["layers.0.q"])
    ('up', '')
    """
    ends = {re.split(r"\.\d", name, maxsplit=1)[0] for name in names}
    blocks = {_read().block(end) for end in ends}
    return blocks.pop() if len(blocks) == 1 else ""


def _block(stack: str, stacks: Collection[str]) -> str:
    """Return the list of blocks of a stack; the main one beside single blocks is the double one."""
    words = _read()
    block = words.block(stack)
    if not block and (words.part(stack) or _MAIN) == _MAIN and not words.rest(stack):
        return _DOUBLE if _SINGLE in map(words.block, stacks) else ""
    return block


def _label(stack: str, stacks: Collection[str], *, part: bool = False) -> str:
    words = _read()
    block, rest = _block(stack, stacks), words.rest(stack)
    parts = [words.part(one) or _MAIN for one in stacks]
    own = words.part(stack)
    if own == _TEXT:
        pipeline = any(map(words.block, stacks)) or _MAIN in parts or parts.count(_TEXT) > 1
        name = "text encoder" if pipeline else "text"
        return " ".join([name, *(re.sub(r"^[a-z_]*?_?(?=\d+$)", "", word) for word in rest)])
    if block:
        before = [own] if part and own else []
        return " ".join([*before, block, *rest])
    if not stack:
        return _main(parts, len(stacks))
    if own in _OWN or rest:
        return stack
    return str(own) if len(stack.split(".")) == 1 or parts.count(own) == 1 else stack


def _main(parts: Sequence[str], count: int) -> str:
    """Return what the stack without a name is called."""
    if count == 1:
        return ""
    if any(sense in parts for sense in _SENSES):
        return "language"
    return "transformer" if _TEXT in parts else "main"


def _fits(table: Mapping[str, Sequence[str]], word: str) -> str | None:
    for name, patterns in table.items():
        if any(fnmatchcase(word, pattern) for pattern in patterns):
            return name
    return None


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Numbers in a name ascend as numbers do."""
    pieces = re.split(r"(\d{1,9})", name)
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece]


@cache
def _read() -> _Words:
    import tomllib

    path = files("ftdiff") / "naming" / "stack_words.toml"
    tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    return _Words(tables["parts"], tables["blocks"], frozenset(tables["plain"]["words"]))
