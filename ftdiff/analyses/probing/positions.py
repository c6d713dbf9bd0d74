"""At which token a row is read: positions by their names, found through the tokenizer's offsets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftdiff.analyses.tokens import tokens_of
from ftdiff.errors import BadCall
from ftdiff.registry import Registry

_OF_SPANS = ("before_first", "first", "last", "after_last")
#: The positions of a probe by default, in the order in which they are drawn.
POSITIONS = (
    "last_q",
    *(f"exact_answer_{which}" for which in _OF_SPANS),
    *("first_answer", "second_answer"),
    *(str(at) for at in range(-8, 0)),
)


@dataclass(frozen=True)
class Read:
    """A text as tokens.

    Attributes
    ----------
    ids
        Its tokens.
    offsets
        The characters of each.
    special
        Which tokens stand for no text: they begin, end or part it.
    answer
        The character at which the answer begins; None where the text has no question.
    spans
        Characters (first, beyond the last) by the name of a span.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]
    answer: int | None = None
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def read(
    tokenizer: Any, text: str, answer: int | None, spans: Mapping[str, tuple[int, int]]
) -> Read:
    """Turn a text into tokens that know their characters.

    Raises
    ------
    BadCall
        The tokenizer cannot say of which characters a token is.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise BadCall(
            "the tokenizer does not say of which characters a token is (it is no fast one): "
            "positions cannot be found"
        )
    told = tokens_of(tokenizer, text, return_offsets_mapping=True, return_special_tokens_mask=True)
    return Read(
        tuple(map(int, told["input_ids"])),
        tuple((int(a), int(b)) for a, b in told["offset_mapping"]),
        tuple(map(bool, told["special_tokens_mask"])),
        answer,
        spans,
    )


def known(names: Sequence[str], spans: Iterable[str]) -> tuple[str, ...]:
    """Return the positions that are asked for, by default all of `POSITIONS`.

    Raises
    ------
    UnknownName
        There is no such position.
    """
    more = [f"{span}_{which}" for span in spans for which in _OF_SPANS]
    there = Registry("position", dict.fromkeys([*POSITIONS, *more]))
    asked = [re.sub("^[−–]", "-", name) for name in names or POSITIONS]
    for name in asked:
        if not re.fullmatch(r"-[1-9]\d{0,3}", name):
            there[name]
    return tuple(dict.fromkeys(asked))


def place(name: str, row: Read) -> int | None:
    """Return the token at a position of a text; None where the text has none.

    `last_q` is the last token that lies in the question whole, `first_answer` the first that
    reaches into the answer. `SPAN_before_first` and `SPAN_after_last` are the tokens beside a
    span, `-1`, `-2`, … count from the end. A token that stands for no text is at no position.

    Examples
    --------
    >>> row = Read((9, 1, 2, 3), ((0, 0), (0, 2), (2, 3), (3, 5)), (True, False, False, False), 3)
    >>> place("last_q", row), place("first_answer", row), place("second_answer", row)
    (2, 3, None)
    >>> place("-3", row), place("-4", row)
    (1, None)
    """
    if name.startswith("-"):
        text = [i for i, special in enumerate(row.special) if not special]
        at = len(text) + int(name)
        return text[at] if at >= 0 else None
    if name in ("last_q", "first_answer", "second_answer"):
        return _beside_answer(name, row)
    span, which = next(
        (name.removesuffix(f"_{which}"), which)
        for which in ("before_first", "after_last", "first", "last")
        if name.endswith(f"_{which}")
    )
    held = _overlapping(row, *row.spans[span]) if span in row.spans else []
    if not held:
        return None
    at = {
        "before_first": held[0] - 1,
        "first": held[0],
        "last": held[-1],
        "after_last": held[-1] + 1,
    }[which]
    return at if 0 <= at < len(row.ids) and not row.special[at] else None


def _beside_answer(name: str, row: Read) -> int | None:
    if row.answer is None:
        return None
    text = [i for i, special in enumerate(row.special) if not special]
    if name == "last_q":
        held = [i for i in text if row.offsets[i][1] <= row.answer]
        return held[-1] if held else None
    held = [i for i in text if row.offsets[i][1] > row.answer]
    at = 0 if name == "first_answer" else 1
    return held[at] if at < len(held) else None


def _overlapping(row: Read, start: int, stop: int) -> list[int]:
    """Return the tokens that hold a character of a span."""
    return [
        i
        for i, (a, b) in enumerate(row.offsets)
        if not row.special[i] and max(a, start) < min(b, stop)
    ]
