"""How far a model's predictions lie from another's: KL, first choices, losses, text by text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ftdiff.analyses.live_model.activations import States
from ftdiff.analyses.live_model.batches import IGNORED, Batch
from ftdiff.errors import BadCall
from ftdiff.tensors import Array


@dataclass(eq=False)
class Outputs:
    """Sums over the tokens that are asked of each text.

    Attributes
    ----------
    kl
        float64, texts: KL(second‖first) in nats, at temperature 1.
    flips
        Tokens whose most likely prediction differs.
    first, second
        Losses of each pass.
    """

    texts: int
    kl: Array = field(init=False)
    flips: Array = field(init=False)
    first: Array = field(init=False)
    second: Array = field(init=False)

    def __post_init__(self) -> None:
        self.kl, self.flips, self.first, self.second = np.zeros((4, self.texts))

    def add(self, batch: Batch, first: States, second: States) -> None:
        """Take a batch of both passes; a text at a time, since vocabularies are large."""
        logits: list[Any] = [one.logits for one in (first, second) if one.logits is not None]
        if len(logits) < 2:
            return
        for i, text in enumerate(range(batch.at.start, batch.at.stop)):
            asked = batch.targets[i] != IGNORED
            targets = batch.targets[i][asked]
            p, q = (one[i][asked].double().log_softmax(-1) for one in logits)
            self.kl[text] = _number((q.exp() * (q - p)).sum())
            self.flips[text] = _number((q.argmax(-1) != p.argmax(-1)).sum())
            for held, one in ((self.first, p), (self.second, q)):
                held[text] = -_number(one.gather(-1, targets[:, None]).sum())


def _number(value: Any) -> float:
    return float(value.item())


def rows(tokens: Array, drift: Outputs, floor: Outputs) -> list[dict[str, Any]]:
    """Return a record for each text: means over its tokens, each with its floor.

    Raises
    ------
    BadCall
        A loss is not finite.
    """
    for values, whose in ((drift.first, "the base"), (drift.second, "the fine-tune")):
        if not np.isfinite(values).all():
            text = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
            raise BadCall(f"the loss of {whose} is not finite (first on text {text})")
    count = np.maximum(tokens, 1)
    columns = {
        "loss_base": drift.first / count,
        "loss_tuned": drift.second / count,
        "loss_change": (drift.second - drift.first) / count,
        "loss_change_floor": (floor.second - floor.first) / count,
        "kl": np.maximum(drift.kl, 0.0) / count,  # it is none below 0, but for rounding
        "kl_floor": np.maximum(floor.kl, 0.0) / count,
        "flips": drift.flips / count,
        "flips_floor": floor.flips / count,
    }
    return [
        {
            "text": i + 1,
            "tokens": int(tokens[i]),
            **{name: float(held[i]) for name, held in columns.items()},
        }
        for i in range(len(tokens))
        if tokens[i]
    ]
