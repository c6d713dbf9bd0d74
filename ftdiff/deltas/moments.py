"""Sums that add up: what is measured of a tensor, exact in any grouping and order.

Each sum is kept as a short expansion of floats whose total is exact, so that adding is associative
and commutative to the last bit: the same number for any cut, thread count or worker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ftdiff.tensors import Array

Exact: TypeAlias = tuple[float, ...]

#: Sums over the entries that are finite on both sides, in the order of the frame.
SUMS = ("base_sq", "tuned_sq", "delta_sq", "inner", "base_abs", "delta_abs", "ulp_sq")
#: The largest change of an entry.
MAXIMA = ("delta_max",)
#: Whole numbers of entries.
COUNTS = ("unequal", "sign_flips", "nonfinite_base", "nonfinite_tuned")
#: What is left beside a rescaling, where that took a second pass (see `deltas.rescaling`).
TURNED = "turned_sq"
#: Twelve times what rounding alone changes: `ulp_sq` where the base lies off the tuned side's grid,
#: 0 where it lies on it, missing where a side is stored in few bits. Of an unmerged adapter, what
#: its merge in the base's dtype would round.
NULL = "null_sq"
#: All of them, as columns: the contract's, then the sum behind the precision floor.
COLUMNS = (*SUMS[:6], *MAXIMA, *COUNTS, SUMS[6], TURNED, NULL)


def exact(values: Iterable[float]) -> Exact:
    """Return the total of `values` as an expansion: floats that add up to it without error.

    The first is the correctly rounded total. Each next one is the rounded remainder, until none
    is left (two or three steps, since each is at least 2⁵³ times smaller).

    >>> exact([1e100, 1.0, -1e100])
    (1.0,)
    >>> exact([1.0, 1e-30])
    (1.0, 1e-30)
    """
    given = [float(value) for value in values]
    if len(given) == 1:
        return (given[0] or 0.0,)
    terms: list[float] = []
    while True:
        try:
            term = math.fsum([*given, *(-term for term in terms)])
        except (OverflowError, ValueError):  # an infinity among them, or on the way
            return (sum(given),)
        if not math.isfinite(term):
            return (term,)
        if term == 0.0:
            return tuple(terms) or (0.0,)
        terms.append(term)


def total(values: Sequence[float]) -> float:
    """Return the first term of `exact`, the correctly rounded total, alone.

    >>> total([1e100, 1.0, -1e100])
    1.0
    """
    try:
        return math.fsum(values) or 0.0
    except (OverflowError, ValueError):
        return float(sum(values))


@dataclass(frozen=True)
class Moments:
    """The sums of one tensor's change, or of a part of it: a commutative monoid under `+`.

    Attributes
    ----------
    numel
        Number of entries that the sums are over.
    sums
        Expansions by name (see `SUMS`). A sum that was not measured is absent, never zero.
    tops
        Maxima by name (see `MAXIMA`).
    counts
        Counts by name (see `COUNTS`).
    """

    numel: int = 0
    sums: Mapping[str, Exact] = field(default_factory=dict)
    tops: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Moments) -> Moments:
        if not self.numel:
            return other
        if not other.numel:
            return self
        return Moments(
            self.numel + other.numel,
            {k: exact((*self.sums[k], *other.sums[k])) for k in self.sums if k in other.sums},
            {k: max(self.tops[k], other.tops[k]) for k in self.tops if k in other.tops},
            {k: self.counts[k] + other.counts[k] for k in self.counts if k in other.counts},
        )

    @classmethod
    def of_same_bytes(cls, numel: int) -> Moments:
        """Return what is known of bytes that both sides share, and that were not read."""
        still = dict.fromkeys(("delta_sq", "delta_abs"), (0.0,))
        counts = dict.fromkeys(("unequal", "sign_flips"), 0)
        return cls(numel, still, dict.fromkeys(MAXIMA, 0.0), counts)

    @classmethod
    def of_blocks(
        cls, numel: int, floats: Array, counts: Array, ulp: float, off: Array | None = None
    ) -> Moments:
        """Return the moments of a span from the fused loop's output, a row per block.

        Parameters
        ----------
        numel
            Entries in the span.
        floats
            float64, blocks × 8: `SUMS` in order, then the largest change.
        counts
            int64, blocks × 4: `COUNTS` in order.
        ulp
            The spacing of the storage dtype at 1.0; the loop sums squared powers of two, and this
            turns them into squared units in the last place.
        off
            bool, a value per block: whether rounding alone would change it; all by default.
        """
        columns = floats.T.tolist()
        sums = {name: exact(column) for name, column in zip(SUMS, columns[:7], strict=True)}
        sums[NULL] = sums["ulp_sq"] if off is None else exact(floats[off, 6].tolist())
        for name in ("ulp_sq", NULL):
            sums[name] = tuple(term * ulp * ulp for term in sums[name])  # exact: a power of 2
        tops = {"delta_max": max(columns[7], default=0.0)}
        entries = counts[0] if len(counts) == 1 else counts.sum(axis=0)
        whole = dict(zip(COUNTS, entries.tolist(), strict=True))
        return cls(numel, sums, tops, whole)

    @classmethod
    def of_rows(
        cls, numel: int, floats: Array, counts: Array, ulp: float, off: Array
    ) -> list[Moments]:
        """Return what `of_blocks` makes of each row by itself: `numel` entries are in each."""
        sums = np.column_stack([floats[:, :7], np.where(off, floats[:, 6], 0.0)]) + 0.0
        sums[:, 6:] *= ulp
        sums[:, 6:] *= ulp
        rows = zip(sums.tolist(), floats[:, 7].tolist(), counts.tolist(), strict=True)
        names = (*SUMS, NULL)
        return [
            cls(
                numel,
                dict(zip(names, zip(some), strict=True)),  # each an expansion of one term
                {"delta_max": top},
                dict(zip(COUNTS, entries, strict=True)),
            )
            for some, top, entries in rows
        ]

    def only(self, *names: str) -> Moments:
        """Return the same without the sums, maxima and counts that are not named."""
        return Moments(
            self.numel,
            {k: v for k, v in self.sums.items() if k in names},
            {k: v for k, v in self.tops.items() if k in names},
            {k: v for k, v in self.counts.items() if k in names},
        )

    def without(self, *names: str) -> Moments:
        """Return the same without the named sums, maxima and counts."""
        return self.only(*({*self.sums, *self.tops, *self.counts} - {*names}))

    def replacing(self, **sums: float) -> Moments:
        """Return the same with some sums known better than the loop measured them."""
        known = {name: (value,) for name, value in sums.items()}
        return Moments(self.numel, {**self.sums, **known}, self.tops, self.counts)

    def summing(self, **terms: Iterable[float]) -> Moments:
        """Return the same with some sums made of other terms, which are added exactly."""
        known = {name: exact(values) for name, values in terms.items()}
        return Moments(self.numel, {**self.sums, **known}, self.tops, self.counts)

    def row(self) -> dict[str, float | int | None]:
        """Return the frame's columns, each rounded once; None for what was not measured."""
        known: dict[str, float | int] = {k: v[0] for k, v in self.sums.items()}
        known |= self.tops
        known |= self.counts
        return {name: known.get(name) for name in COLUMNS}
