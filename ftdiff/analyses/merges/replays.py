"""Try arithmetics and written coefficients on a sample, then the best on every entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.merges.feasible import limits
from ftdiff.analyses.merges.intervals import Interval, along
from ftdiff.analyses.merges.sides import Sides
from ftdiff.analyses.merges.sums import Entries
from ftdiff.analyses.merges.ways import WAYS, Given, ways
from ftdiff.tensors import Array


@dataclass(frozen=True)
class Setting:
    """What a replay is made with.

    Attributes
    ----------
    weights
        One for each parent.
    with_base
        Whether the first side is the base, and no parent.
    alone
        Whether the parents alone are summed, though there is a base.
    """

    weights: tuple[float, ...]
    with_base: bool
    alone: bool = False

    def given(self, entries: Entries, dtype: str) -> Given:
        """Return what a way is given for these entries."""
        wide = np.float64 if dtype == "F64" else np.float32
        W = entries.W.astype(wide)
        parents = [(entries.W + d).astype(wide) for d in entries.D]
        base = W if self.with_base and not self.alone else None
        return Given(base, parents if self.with_base else [W, *parents], self.weights, dtype)

    def change(self, entries: Entries) -> Array:
        """Return the merged change that the weights give, exactly."""
        own = self.weights if self.with_base else self.weights[1:]
        found = np.asarray(own) @ entries.D
        if not self.with_base or self.alone:
            found = found + (sum(self.weights) - 1) * entries.W
        return np.asarray(found)


@dataclass(frozen=True)
class Replayed:
    """What a replay of a whole tensor gave.

    Attributes
    ----------
    setting, way
        The weights, and the name of the arithmetic.
    equal, right
        Moved entries that are the replay's to the bit; and that the weights round right.
    intervals
        By parent, the coefficients for which every entry rounds right, of one parent, and of two
        that share the whole; of others they are open.
    """

    setting: Setting
    way: str
    equal: int
    right: int
    intervals: tuple[Interval, ...]


def best(sample: Entries, dtype: str, settings: Sequence[Setting]) -> tuple[Setting, str]:
    """Return the weights and the arithmetic that give the most of a sample, the likeliest first."""
    moved = sample.moved
    chosen, most = (settings[0], "linear"), -1
    for setting in settings:
        given = setting.given(sample, dtype)
        for name in ways(given):
            same = int((WAYS[name].stored(given) == sample.merged)[moved].sum())
            if same > most:
                chosen, most = (setting, name), same
    return chosen


def replay(sides: Sides, dtype: str, setting: Setting, way: str) -> Replayed:
    """Replay every entry."""
    equal = right = 0
    intervals = [Interval()] * len(setting.weights)
    for window in sides.windows():
        entries, _ = Entries.of(window, dtype)
        moved = entries.moved
        made = WAYS[way].stored(setting.given(entries, dtype))
        equal += int((made == entries.merged)[moved].sum())
        low, high = limits(entries, dtype)
        change = setting.change(entries)
        right += int(((change >= low) & (change <= high))[moved].sum())
        found = _intervals(setting, entries, (low, high))
        intervals = [one & two for one, two in zip(intervals, found, strict=True)]
    return Replayed(setting, way, equal, right, tuple(intervals))


def _intervals(setting: Setting, entries: Entries, ends: tuple[Array, Array]) -> list[Interval]:
    none = np.zeros(len(entries.y))
    weights, D = setting.weights, entries.D
    own = D if setting.with_base else np.vstack([none, D])
    if len(weights) == 2 and abs(sum(weights) - 1) < 1e-9:
        second = along(own[0], own[1] - own[0], *ends, none)
        return [second.mirrored(), second]
    if len(weights) == 1 and setting.with_base:
        return [along(none, own[0], *ends, none)]
    return [Interval()] * len(weights)
