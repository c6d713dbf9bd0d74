"""How far two passes of the same texts lie apart: sums of every token, vectors of every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ftdiff.analyses.drift.cka import unbiased_cka
from ftdiff.analyses.drift.token_bins import ALL
from ftdiff.analyses.live_model.activations import States
from ftdiff.analyses.live_model.batches import Batch
from ftdiff.errors import BadCall, require
from ftdiff.tensors import Array

#: What tells a site apart.
Key: TypeAlias = tuple[str, str, int]
#: Times the median of its layer beyond which the size of a token's state is massive.
MASSIVE = 10.0
#: What is measured of states, each with and without massive ones.
NUMBERS = ("relative_change", "cosine_distance", "cka")


@dataclass(frozen=True, eq=False)
class Ground:
    """What all passes have in common.

    Attributes
    ----------
    bins
        Which tokens are at each position; see `token_bins.bins`.
    massive
        bool, (texts, length), by site: tokens whose state in the base is massive.
    """

    bins: Mapping[str, Array]
    massive: Mapping[Key, Array]

    def positions(self, key: Key) -> list[str]:
        """Return the positions of a site: of a layer all, of its parts the whole text."""
        return [*self.bins] if key[0] == "block" else [ALL]


def massive(sizes: Mapping[Key, Array], mask: Array) -> dict[Key, Array]:
    """Return which tokens' states are over `MASSIVE` times the median of their site."""
    return {
        key: mask & (norms > MASSIVE * float(np.median(norms[mask])))
        for key, norms in sizes.items()
    }


@dataclass(eq=False)
class Tally:
    """Sums of one pass against another, filled batch by batch.

    Attributes
    ----------
    ground
        See `Ground`.
    moved_sq, size_sq, apart
        float64, (texts, length), by site: ‖h₁ − h₀‖², ‖h₀‖² and 1 − cos(h₀, h₁) of every token.
    vectors
        By site, whether massive tokens are left out, and pass: float32, (texts, positions, d), the
        mean state of each text at each position.
    """

    ground: Ground
    moved_sq: dict[Key, Array] = field(default_factory=dict)
    size_sq: dict[Key, Array] = field(default_factory=dict)
    apart: dict[Key, Array] = field(default_factory=dict)
    vectors: dict[tuple[Key, bool, int], Array] = field(default_factory=dict)

    def add(self, batch: Batch, first: States, second: States) -> None:
        """Take a batch of the pass that is held against, and of the other."""
        for key, before in first.hidden.items():
            after = second.hidden[key]
            before, after = before.double(), after.double()
            own, other = (before**2).sum(-1), (after**2).sum(-1)
            moved = ((after - before) ** 2).sum(-1)
            lengths = own.sqrt() * other.sqrt()
            apart = (moved - (own.sqrt() - other.sqrt()) ** 2).clamp(min=0) / (2 * lengths)
            apart = apart.where(lengths > 0, apart.new_zeros(()))
            for held, values in (
                *((self.moved_sq, moved), (self.size_sq, own), (self.apart, apart)),
            ):
                self._put(held, key, batch.at, values)
            for pass_, state in enumerate((before, after)):
                for usual in (False, True):
                    self._mean(key, usual, pass_, batch, state)

    def _put(self, held: dict[Key, Array], key: Key, at: slice, values: Any) -> None:
        whole = held.setdefault(key, np.zeros(self.ground.bins[ALL].shape))
        whole[at, : values.shape[1]] = values.cpu().numpy()

    def _mean(self, key: Key, usual: bool, pass_: int, batch: Batch, state: Any) -> None:
        torch = require("torch", "models", "a model that runs")
        if usual and not self.ground.massive[key].any():
            return
        length = state.shape[1]
        kept = np.stack([self._kept(key, name, usual)[batch.at, :length]
                         for name in self.ground.positions(key)], axis=1)  # fmt: skip
        weight = kept / np.maximum(kept.sum(axis=2, keepdims=True), 1)
        mean = torch.from_numpy(weight).to(state.device) @ state
        shape = (len(self.ground.bins[ALL]), weight.shape[1], state.shape[-1])
        whole = self.vectors.setdefault((key, usual, pass_), np.zeros(shape, np.float32))
        whole[batch.at] = mean.float().cpu().numpy()

    def _kept(self, key: Key, position: str, usual: bool) -> Array:
        there = self.ground.bins[position]
        kept: Array = there & ~self.ground.massive[key] if usual else there
        return kept

    def numbers(self, key: Key, position: str, *, usual: bool) -> dict[str, float]:
        """Return `NUMBERS` of a site at a position; NaN where no token is there."""
        kept = self._kept(key, position, usual)
        if not kept.any():
            return dict.fromkeys(NUMBERS, float("nan"))
        moved, size = (float(held[key][kept].sum()) for held in (self.moved_sq, self.size_sq))
        with_massive = not usual or (key, True, 0) not in self.vectors
        at = self.ground.positions(key).index(position)
        X, Y = (self.vectors[key, not with_massive, i][kept.any(axis=1), at] for i in (0, 1))
        return {
            "relative_change": float(np.sqrt(moved / size)) if size else float("nan"),
            "cosine_distance": float(self.apart[key][kept].mean()),
            "cka": unbiased_cka(X, Y),
        }


def rows(keys: Sequence[Key], ground: Ground, drift: Tally, floor: Tally) -> list[dict[str, Any]]:
    """Return a record for each site and position: each number with its floor beside it.

    Raises
    ------
    BadCall
        A state is not finite.
    """
    found = []
    for key in keys:
        if not np.isfinite(drift.moved_sq[key]).all():
            raise BadCall(f"states are not finite ({key[0]} of layer {key[2]})")
        for position in ground.positions(key):
            there = ground.bins[position]
            row: dict[str, Any] = {
                **dict(zip(("site", "stack", "layer"), key, strict=True)),
                "position": position,
                "texts": int(there.any(axis=1).sum()),
                "tokens": int(there.sum()),
                "massive": int((there & ground.massive[key]).sum()),
            }
            for usual in (False, True):
                measured, beside = (
                    one.numbers(key, position, usual=usual) for one in (drift, floor)
                )
                for name in NUMBERS:
                    named = f"usual_{name}" if usual else name
                    row |= {named: measured[name], f"{named}_floor": beside[name]}
            found.append(row)
    return found
