"""What a diff says of layers that are not where the base has them, and which tensors that is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ftdiff.comparison.alignment.layer_words import sentence
from ftdiff.comparison.alignment.layers import OWN
from ftdiff.comparison.reasons import LAYERS, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED, IDENTICAL, REMOVED


@dataclass(frozen=True)
class Moved:
    """The layers of one stack.

    Attributes
    ----------
    message
        Where they come from, in one sentence.
    data
        The record of it: the number of layers of `base` and `tuned`; `home` and `copies`, the
        base's layer by the tuned one; those `inserted` and `removed`.
    rows
        Tensors of inserted and removed layers.
    """

    message: str
    data: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def decided(self) -> bool:
        """Whether it is known which layer is which."""
        return bool(self.data["home"])


def moved_layers(diff: Diff) -> Iterator[Moved]:
    """Yield what became of the layers of each stack whose layers are not the base's by number."""
    frame = diff.frame
    for data in reasons(diff.about, LAYERS):
        if "home" not in data:
            continue
        mine = frame[frame["stack"] == data["stack"]]
        of_base = mine[mine["layer"].isin(data["home"].values()).fillna(False)]
        still = len(of_base) and (of_base["status"] == IDENTICAL).all()
        added = (mine["status"] == ADDED) & (
            mine["layer"].isin(data["inserted"]).fillna(False)
            | mine["tensor"].str.startswith(OWN).fillna(False)
        )
        removed = (mine["status"] == REMOVED) & mine["layer"].isin(data["removed"]).fillna(False)
        message = f"{sentence(data, ', bit for bit' if still else '')}."
        yield Moved(f"{message[0].upper()}{message[1:]}", data, mine[added | removed])
