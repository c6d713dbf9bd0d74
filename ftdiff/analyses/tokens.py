"""A text as tokens: which of them count, and which characters each is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftdiff.errors import BadFile, one_line


@dataclass(frozen=True)
class Tokens:
    """One text: its tokens, which of them count, and the characters that each is of, if known."""

    ids: tuple[int, ...]
    scored: tuple[bool, ...]
    offsets: tuple[tuple[int, int], ...] | None = None


def encoded(tokenizer: Any, text: str, *, answer: int = 0, special: bool = True) -> Tokens:
    """Turn a text into tokens.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers'.
    text
        The text.
    answer
        The character at which what counts begins: a token counts that reaches beyond it.
    special
        Whether the tokenizer adds its own marks; what a chat template wrote has them.
    """
    fast = bool(getattr(tokenizer, "is_fast", False))
    told = tokens_of(tokenizer, text, add_special_tokens=special, return_offsets_mapping=fast)
    ids = tuple(int(one) for one in told["input_ids"])
    marks = {*getattr(tokenizer, "all_special_ids", ())}
    offsets = tuple((int(a), int(b)) for a, b in told["offset_mapping"]) if fast else None
    if not answer:
        counts: Iterator[bool] = iter([True] * len(ids))
    elif offsets is not None:
        counts = (stop > answer and stop > start for start, stop in offsets)
    else:
        before = tokens_of(tokenizer, text[:answer], add_special_tokens=special)["input_ids"]
        first = _shared(ids, before)
        counts = (i >= first for i in range(len(ids)))
    scored = tuple(one not in marks and here for one, here in zip(ids, counts, strict=True))
    return Tokens(ids, scored, offsets)


def tokens_of(tokenizer: Any, text: str, **options: bool) -> Mapping[str, Any]:
    """Call a tokenizer of transformers' on a whole text: one too long is cut, and said so, by us.

    Raises
    ------
    BadFile
        The tokenizer takes no text: what its files say makes it raise.
    """
    try:
        told: Mapping[str, Any] = tokenizer(text, truncation=False, verbose=False, **options)
    # as of a template: transformers raises whatever a file makes it raise
    except Exception as error:
        raise BadFile(f"the tokenizer fails on a text: {one_line(error, 200)}") from error
    return told


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many first tokens two texts share."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
