"""Go through a tensor once: its sums for the fit, a replay of it, and a coefficient's interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ftdiff.analyses.merges import fit
from ftdiff.analyses.merges.feasible import limits
from ftdiff.analyses.merges.intervals import Interval, along
from ftdiff.analyses.merges.replays import Guess, Replayed, Setting
from ftdiff.analyses.merges.sides import SAMPLE, Sides, Window, joined
from ftdiff.analyses.merges.sums import Entries, Sums
from ftdiff.analyses.merges.ways import WAYS
from ftdiff.kernels import Mixture
from ftdiff.tensors import Array


def read(sides: Sides, guess: Guess, *, trusted: bool = False) -> tuple[Sums, Replayed]:
    """Add up every entry and replay it by a guess.

    If the guess is trusted, what only another one would need is not added up: products of the first
    side, and where sums are rounded on the way what the weights alone would give. Where the replay
    is not the whole then, it is to be read again.

    Of files on another machine the tensor's sample is taken on the way.
    """
    setting, way, dtypes = guess.setting, guess.way, sides.dtypes
    judged = not (trusted and WAYS[way].low)
    slow = _Slowly(setting, way, dtypes[0], len(dtypes))
    fast = None
    if Mixture.knows(dtypes):
        fast = Mixture(
            dtypes,
            lambda to: setting.written(way, to),
            setting.mix,
            setting.line,
            all_=not trusted,
            judged=judged,
        )
    kept, step = [], -(-sides.entries // SAMPLE)
    sampling = sides.far and "sample" not in vars(sides)
    for window in sides.windows():
        if fast is None or not fast.add(window.merged, window.sides):
            for part in window.parts():
                slow.add(part)
        if sampling:
            kept.append(window.every(step))
    if sampling:
        sides.sample = joined(kept)
    sums, done = slow.done(fast, sides)
    return sums, done if judged else replace(done, right=None)


class _Slowly:
    """The same sums as `Mixture`'s of any dtypes, where entries may be no numbers."""

    def __init__(self, setting: Setting, way: str, dtype: str, count: int) -> None:
        self.setting, self.way, self.dtype = setting, way, dtype
        self.gram, self.plain = np.zeros((count, count)), np.zeros(3)
        self.moved = self.equal = self.right = self.nonfinite = 0
        self.along = Interval()

    def add(self, part: Window) -> None:
        """Add some entries, those left out that are not finite."""
        entries, broken = Entries.of(part, self.dtype)
        self.nonfinite += broken
        rows = np.vstack([entries.W, entries.D])
        self.gram += fit.weighted(rows, entries.y, entries.ulp)
        A = entries.W + (entries.D[-2] if len(entries.D) > 1 else 0.0)
        B = entries.W + entries.D[-1]
        self.plain += [A @ A, B @ B, (A - B) @ (A - B)]
        moved = entries.moved
        made = WAYS[self.way].stored(self.setting.given(entries, self.dtype))
        low, high = limits(entries, self.dtype)
        change = self.setting.change(entries)
        self.moved += int(moved.sum())
        self.equal += int((made == entries.merged)[moved].sum())
        self.right += int(((change >= low) & (change <= high))[moved].sum())
        self.along = self.along & self._along(entries, low, high)

    def _along(self, entries: Entries, low: Array, high: Array) -> Interval:
        if self.setting.line is None:
            return Interval()
        first, second = self.setting.line
        none = np.zeros(len(entries.y))
        start = entries.D[first - 1] if first else none
        return along(start, entries.D[second - 1] - start, low, high, none)

    def done(self, fast: Mixture | None, sides: Sides) -> tuple[Sums, Replayed]:
        """Return these and what was added up fast."""
        gram, plain, interval = self.gram, self.plain, self.along
        moved, equal, right = self.moved, self.equal, self.right
        if fast is not None:
            own = fast.done()
            gram, plain = gram + own.gram, plain + own.plain
            moved, equal, right = moved + own.moved, equal + own.equal, right + own.right
            interval = interval & Interval(own.low, own.high)
        entries = sides.entries - self.nonfinite
        sums = Sums(gram, plain, entries, moved, self.nonfinite, sides)
        intervals = self.setting.intervals(interval)
        return sums, Replayed(self.setting, self.way, equal, right, intervals)
