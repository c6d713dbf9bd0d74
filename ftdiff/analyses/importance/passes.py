"""Passes over all texts: what each gave is kept where a journal is, and the pass not made again."""

from __future__ import annotations

import importlib.metadata
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ftdiff.analyses.live_model.batches import Pace, Rows
from ftdiff.analyses.live_model.losses import Losses
from ftdiff.analyses.live_model.opening import Live
from ftdiff.comparison import journal
from ftdiff.comparison.journal import Journal, kept_as
from ftdiff.comparison.plan import Change
from ftdiff.errors import require
from ftdiff.formats import Checkpoint
from ftdiff.metrics.records.worth import Worth

T = TypeVar("T")

kept_as("losses")(Losses)
kept_as("worth")(Worth)


@dataclass(frozen=True)
class Pass:
    """What is asked of the model on all texts.

    Attributes
    ----------
    what
        "worth" of the base; "losses" or "slopes" where the model stands; a measure of a part, or
        the "gate" of several, which takes many passes.
    at
        That part, those parts, or where it stands.
    of_base
        Whether it is the same whatever the change.
    """

    what: str
    at: Any = None
    of_base: bool = False

    @property
    def label(self) -> str:
        """What tells it apart."""
        return f"{self.what} {self.at}"


class Passes:
    """The passes of one base, one change and some texts that a journal keeps.

    Parameters
    ----------
    book
        The journal.
    base, both
        What the base on these texts is kept under, and the same with its change.
    pace
        Texts at a time, which sums depend on in their last bits.
    """

    def __init__(self, book: Journal, base: bytes | None, both: bytes | None, pace: Pace) -> None:
        self._book, self._base, self._both, self._pace = book, base, both, pace

    def left(self, wanted: Sequence[Pass]) -> list[Pass]:
        """Return the passes that are not kept yet, and say how many are."""
        left = [one for one in wanted if not self._book.find(self._key(one))]
        waiting = Counter(one.label for one in left)
        self._book.begin(
            {one.label for one in wanted}, waiting, "importance", unit=("pass", "passes")
        )
        return left

    def once(self, one: Pass, make: Callable[[], T]) -> T:
        """Return what a pass gives: what is kept, or else what `make` returns, and keep that."""
        key = self._key(one)
        for _, _, (outcome, size, halved) in self._book.find(key):
            self._pace.size, self._pace.halved[:] = size, halved
            kept: T = outcome
            return kept
        made = make()
        if self._book.add(key, 0, 0, (made, self._pace.size, self._pace.halved)):
            self._book.done(one.label)
        return made

    def _key(self, one: Pass) -> bytes | None:
        of = self._base if one.of_base else self._both
        return None if of is None else self._book.key(of, self._pace.size, one.what, one.at)


def passes_of(
    live: Live, rows: Rows, pace: Pace, base: Checkpoint, changes: Sequence[Change] | None
) -> Passes | None:
    """Return the passes that a journal keeps of a base, its changes and texts; None without one.

    Parameters
    ----------
    live, rows, pace
        The base that runs, what it is asked, and how many texts at a time.
    base, changes
        Its file, and what is paired with it.
    """
    book = journal.current()
    if book is None:
        return None
    asked = (rows.ids, rows.mask, rows.targets)
    held = book.key("passes", _machine(live), _model(live), asked, dict(base.tensors))
    both = None if held is None else book.key(held, None if changes is None else [*changes])
    return Passes(book, held, both, pace)


def _machine(live: Live) -> Mapping[str, Any]:
    """Return what the last bits of a pass depend on, beside the model and the texts."""
    torch = require("torch", "models", "a model that runs")
    name = torch.cuda.get_device_name(live.device) if live.device.startswith("cuda") else ""
    return {
        **{each: importlib.metadata.version(each) for each in ("torch", "transformers")},
        "device": live.device, "name": name, "dtype": live.dtype,
        "threads": torch.get_num_threads(), "cpu": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def _model(live: Live) -> tuple[str, str, str]:
    """Return how a model is built, without where its files lie."""
    config = live.model.config.to_dict()
    config.pop("_name_or_path", None)
    attention = str(getattr(live.model.config, "_attn_implementation", ""))
    return type(live.model).__name__, attention, json.dumps(config, sort_keys=True, default=str)
