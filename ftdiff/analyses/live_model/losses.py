"""What a model loses on texts, text by text, and the gradients of that, taken as they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses.live_model.batches import IGNORED, Batch, Pace, Rows, batches
from ftdiff.analyses.live_model.opening import Live
from ftdiff.errors import BadCall, require
from ftdiff.tensors import Array

#: Called with a parameter's first name and its gradient, which is freed afterwards.
Consume: TypeAlias = Callable[[str, Any], None]


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses in nats: their sum over the tokens of each text, and how many tokens those are."""

    sums: Array
    tokens: Array

    @property
    def mean(self) -> float:
        """The mean over all tokens."""
        return float(self.sums.sum() / self.tokens.sum())

    def means(self, resampled: Array) -> Array:
        """Return the means over draws of texts, int64 (draws, texts)."""
        found: Array = self.sums[resampled].sum(axis=1) / self.tokens[resampled].sum(axis=1)
        return found


def losses(live: Live, rows: Rows, pace: Pace | None = None, *, of: str = "the model") -> Losses:
    """Measure what a model loses on each text.

    Raises
    ------
    BadCall
        A loss is not finite, nothing is asked, or not even one text fits in memory.
    """
    torch = require("torch", "models", "a model that runs")

    def measured(size: int) -> Array:
        sums = np.zeros(len(rows))
        with torch.no_grad():
            for batch in batches(live, rows, size):
                sums[batch.at] = _by_text(live, batch).double().cpu().numpy()
        return sums

    return checked((pace or Pace()).fit(measured), rows, of)


def checked(sums: Array, rows: Rows, of: str) -> Losses:
    """Return losses, once they are known to be numbers.

    Raises
    ------
    BadCall
        One is not finite, or nothing is asked.
    """
    tokens = rows.asked
    if not tokens.sum():
        raise BadCall("no token of the texts is asked of the model")
    if not np.isfinite(sums).all():
        text = int(np.flatnonzero(~np.isfinite(sums))[0]) + 1
        raise BadCall(f"the loss of {of} is not finite (first on text {text} of {len(sums)})")
    return Losses(sums, tokens)


def token_losses(live: Live, batch: Batch) -> Any:
    """Return the loss at each position of a batch, float32 at least; 0 where nothing is asked."""
    from torch.nn.functional import cross_entropy

    logits = live.model(**batch.inputs).logits
    logits = logits.float() if logits.itemsize < 4 else logits
    return cross_entropy(
        logits.transpose(1, 2), batch.targets, ignore_index=IGNORED, reduction="none"
    )


def _by_text(live: Live, batch: Batch) -> Any:
    return token_losses(live, batch).sum(dim=1)


def gradients(
    live: Live,
    rows: Rows,
    consume: Consume,
    pace: Pace | None = None,
    *,
    whole: bool = False,
    restart: Callable[[], None] | None = None,
    of: str = "the model",
) -> Losses:
    """Take the gradients of the mean loss over all tokens of all texts, parameter by parameter.

    Parameters
    ----------
    live, rows
        The model, and what it is asked.
    consume
        Takes each gradient as it comes, and not later: it is freed at once.
    pace
        Texts at a time.
    whole
        Each parameter's gradient comes once, of all texts; a buffer of the model's size then holds
        what was added up. If not, it comes once a batch, and the parts add up to it.
    restart
        Called where all begins again because a batch did not fit: what was consumed is void.
    of
        What the model is called in an error.

    Raises
    ------
    BadCall
        As in `losses`.
    """
    total = float(checked(np.zeros(len(rows)), rows, of).tokens.sum())
    begun = False

    def measured(size: int) -> Array:
        nonlocal begun
        live.model.zero_grad(set_to_none=True)
        if begun and restart is not None:
            restart()
        begun = True
        sums = np.zeros(len(rows))
        count = math.ceil(len(rows) / size)
        for i, batch in enumerate(batches(live, rows, size)):
            last = i == count - 1
            with _consuming(live, consume if last or not whole else None):
                by_text = _by_text(live, batch)
                (by_text.sum() / total).backward()
            sums[batch.at] = by_text.detach().double().cpu().numpy()
        for name, held in live.parameters().items():  # what the last batch did not touch
            if held.grad is not None:
                consume(name, held.grad)
                held.grad = None
        return sums

    try:
        return checked((pace or Pace()).fit(measured), rows, of)
    finally:
        live.model.zero_grad(set_to_none=True)


@contextmanager
def _consuming(live: Live, consume: Consume | None) -> Iterator[None]:
    """Hand each gradient on when it is complete, and free it."""
    handles = []
    if consume is not None:
        for name, parameter in live.parameters().items():

            def complete(held: Any, name: str = name) -> None:
                consume(name, held.grad)
                held.grad = None

            handles.append(parameter.register_post_accumulate_grad_hook(complete))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
