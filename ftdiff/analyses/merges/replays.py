"""Try arithmetics and written coefficients on a sample, the likeliest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftdiff.analyses.merges.intervals import Interval
from ftdiff.analyses.merges.sums import Entries
from ftdiff.analyses.merges.ways import WAYS, Given, Values, Written, ways
from ftdiff.kernels import Arithmetic
from ftdiff.tensors import Array

#: Entries of a sample on which everything is tried at first, and how many of what is tried are held
#: against all of it.
_FEW, _BEST = 1024, 6


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

    def written(self, way: str, to: Arithmetic) -> Values:
        """Write down what a way does."""
        first, *others = to.sides
        base = first if self.with_base and not self.alone else None
        parents = others if self.with_base else [first, *others]
        return WAYS[way].made(Written(base, parents, self.weights, to.stored, to))

    @property
    def mix(self) -> tuple[float, ...]:
        """Coefficients of the first side and of the others' changes: the merged change, exactly."""
        own = self.weights if self.with_base else self.weights[1:]
        lone = not self.with_base or self.alone
        return (sum(self.weights) - 1 if lone else 0.0, *own)

    @property
    def line(self) -> tuple[int, int] | None:
        """The sides between which one coefficient decides: where there is one parent, or two."""
        if len(self.weights) == 2 and abs(sum(self.weights) - 1) < 1e-9:
            return (1, 2) if self.with_base else (0, 1)
        return (0, 1) if len(self.weights) == 1 and self.with_base and not self.alone else None

    def change(self, entries: Entries) -> Array:
        """Return the merged change that the weights give, exactly."""
        first, *own = self.mix
        return np.asarray(np.asarray(own) @ entries.D + first * entries.W)

    def intervals(self, along: Interval) -> tuple[Interval, ...]:
        """Return where each parent's coefficient lies, from where the line's does."""
        if self.line is None:
            return (Interval(),) * len(self.weights)
        return (along,) if len(self.weights) == 1 else (along.mirrored(), along)


@dataclass(frozen=True)
class Replayed:
    """What a replay of a whole tensor gave.

    Attributes
    ----------
    setting, way
        The weights, and the name of the arithmetic.
    equal, right
        Moved entries that are the replay's to the bit; and that the weights round right, None where
        that was not looked at.
    intervals
        By parent, the coefficients for which every entry rounds right, of one parent, and of two
        that share the whole; of others they are open.
    """

    setting: Setting
    way: str
    equal: int
    right: int | None
    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class Guess:
    """What a replay is made with, before it is made.

    Attributes
    ----------
    setting, way
        The weights, and the name of the arithmetic.
    equal
        How many of a sample's moved entries they give.
    trusted
        They are right for other tensors, and for a glance at this one.
    """

    setting: Setting
    way: str
    equal: int = -1
    trusted: bool = False


def best(sample: Entries, dtype: str, settings: Sequence[Setting]) -> Guess:
    """Return the weights and the arithmetic that give the most of a sample, the likeliest first."""
    sample = sample.at(np.flatnonzero(sample.moved))
    few = sample.every(max(1, -(-len(sample.y) // _FEW)))
    tried = [*_tried(few, dtype, settings)]
    if len(few.y) == len(sample.y):
        return max(tried, key=lambda one: one.equal)
    near = sorted(tried, key=lambda one: -one.equal)[:_BEST]
    again = [equal(sample, dtype, one) for one in tried if one in near]
    return max(again, key=lambda one: one.equal)


def equal(sample: Entries, dtype: str, guess: Guess) -> Guess:
    """Try a guess on a sample of which every entry is moved, or on one from which it is taken."""
    given = guess.setting.given(sample, dtype)
    same = (WAYS[guess.way].stored(given) == sample.merged)[sample.moved]
    return Guess(guess.setting, guess.way, int(same.sum()))


def _tried(sample: Entries, dtype: str, settings: Sequence[Setting]) -> list[Guess]:
    found = []
    for setting in settings:
        given = setting.given(sample, dtype)
        for name in ways(given):
            same = int((WAYS[name].stored(given) == sample.merged).sum())
            found.append(Guess(setting, name, same))
    return found
