"""Texts as a model takes them: what it is given, what it has to say, so many texts at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ftdiff.analyses.live_model.opening import Live
from ftdiff.analyses.texts import Texts
from ftdiff.comparison.progress import Say
from ftdiff.errors import BadCall, one_line, require
from ftdiff.tensors import Array

T = TypeVar("T")

#: What a target is where nothing is asked.
IGNORED = -100
#: The share of tokens that are hidden from a masked model.
MASKED_SHARE = 0.15
#: Texts that are run at a time, at first.
BATCH = 8


@dataclass(frozen=True, eq=False)
class Rows:
    """What a model is given, and what it has to say at each position.

    Attributes
    ----------
    ids, mask
        As of `Texts`; padding holds the model's own mark, tokens that are hidden its mask.
    targets
        int64: the token to be said at a position, `IGNORED` where none is asked.
    """

    ids: Array
    mask: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def asked(self) -> Array:
        """How many tokens are asked of each text."""
        counts: Array = (self.targets != IGNORED).sum(axis=1)
        return counts

    def first(self, count: int) -> Rows:
        """Return the first so many."""
        return Rows(self.ids[:count], self.mask[:count], self.targets[:count])


def rows(live: Live, texts: Texts) -> Rows:
    """Lay texts out for a model: the next token is asked of a causal one, hidden ones of a masked.

    Of a masked model 15 % of what counts is hidden, once, drawn by the seed of the texts; at least
    one token of each text. A model without a head is asked nothing.

    Raises
    ------
    BadCall
        A token is none of the model's, texts are too long, or the model has no mask.
    """
    _check(live, texts)
    config = text_config(live)
    pad = getattr(config, "pad_token_id", None)
    ids = np.where(texts.mask, texts.ids, pad if isinstance(pad, int) and pad >= 0 else 0)
    targets = np.full(ids.shape, IGNORED, np.int64)
    if live.kind == "causal":
        targets[:, :-1] = np.where(texts.scored[:, 1:], ids[:, 1:], IGNORED)
    elif live.kind == "masked":
        hidden = _hidden(texts)
        targets = np.where(hidden, ids, IGNORED)
        ids = np.where(hidden, _mask_token(live), ids)
    return Rows(ids, texts.mask, targets)


def text_config(live: Live) -> Any:
    """Return the part of a model's configuration that is about text."""
    config = live.model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _check(live: Live, texts: Texts) -> None:
    size = getattr(text_config(live), "vocab_size", None)
    highest = int(texts.ids.max(initial=0))
    if size is not None and highest >= size:
        raise BadCall(f"token {highest} is beyond the model's vocabulary of {size:,}")
    longest = getattr(text_config(live), "max_position_embeddings", None)
    length = int(texts.mask.sum(axis=1).max())
    if longest is not None and length > longest:
        raise BadCall(
            f"a text of {length} tokens is longer than the model's {longest}: max_tokens cuts it"
        )


def _hidden(texts: Texts) -> Array:
    draw = np.random.default_rng(int(texts.about.get("seed", 0)))
    hidden = np.zeros(texts.ids.shape, bool)
    for row, scored in zip(hidden, texts.scored, strict=True):
        places = np.flatnonzero(scored)
        if len(places):
            count = max(1, round(MASKED_SHARE * len(places)))
            row[draw.choice(places, count, replace=False)] = True
    return hidden


def _mask_token(live: Live) -> int:
    for holder in (live.tokenizer, text_config(live)):
        if isinstance(found := getattr(holder, "mask_token_id", None), int):
            return found
    raise BadCall(f"{live.source}: hides tokens, and neither its tokenizer nor config names a mask")


@dataclass(frozen=True)
class Batch:
    """Some texts on the model's device, cut to the longest of them.

    Attributes
    ----------
    at
        Which texts.
    inputs
        What the model is called with.
    targets
        As of `Rows`.
    mask
        Where a token is.
    """

    at: slice
    inputs: dict[str, Any]
    targets: Any
    mask: Any


def batches(live: Live, given: Rows, size: int) -> Iterator[Batch]:
    """Yield texts in their order, so many at a time."""
    torch = require("torch", "models", "a model that runs")
    for start in range(0, len(given), size):
        at = slice(start, min(start + size, len(given)))
        length = int(given.mask[at].sum(axis=1).max())

        def there(values: Array, at: slice = at, length: int = length) -> Any:
            return torch.from_numpy(np.ascontiguousarray(values[at, :length])).to(live.device)

        mask = there(given.mask)
        inputs = {"input_ids": there(given.ids), "attention_mask": mask.long()}
        yield Batch(at, inputs, there(given.targets), mask)


@dataclass
class Pace:
    """How many texts are run at a time; half as many once they do not fit.

    Attributes
    ----------
    size
        Texts at a time.
    say
        Called with a sentence when that is halved.
    """

    size: int = BATCH
    say: Say | None = None
    halved: list[int] = field(default_factory=list)

    def fit(self, work: Callable[[int], T]) -> T:
        """Do work that takes the number of texts at a time, from the start again if it must.

        Raises
        ------
        BadCall
            Not even one text fits, or the model cannot be run on its device, in its dtype.
        """
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                if not _of_memory(error):
                    first = one_line(str(error).strip().split("\n")[0], 200)
                    raise BadCall(f"the model does not run as it was asked to: {first}") from error
                if self.size == 1:
                    raise BadCall(
                        "out of memory with one text at a time: cut --max-tokens"
                    ) from error
            self.size = math.ceil(self.size / 2)
            self.halved.append(self.size)
            if self.say is not None:
                self.say(f"out of memory: {self.size} at a time from here on")


def _of_memory(error: Exception) -> bool:
    torch = require("torch", "models", "a model that runs")
    words = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "not enough memory" in words
        or "out of memory" in words
    )
