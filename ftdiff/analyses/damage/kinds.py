"""Which tensors are broken, by exact algebra of their sums; each tensor has one kind at most.

With W the base, W₁ the tuned tensor and Δ = W₁ − W: W₁ = 0 is ‖W₁‖² = 0; W₁ = cW is
⟨W, Δ⟩² = ‖W‖² ‖Δ‖²; entries set to zero and the others kept are ⟨W, Δ⟩ = −‖Δ‖², since every entry
of Δ is 0 or −w. Only tensors that are stored on both sides are judged by their direction: what an
unmerged adapter adds is a change by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ftdiff.comparison.frame import Columns, among, floats, length, there
from ftdiff.comparison.reasons import COARSE, with_code
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED, UNREADABLE
from ftdiff.tensors import Array

#: From the gravest: what is not finite has no other kind, and so on.
KINDS = (
    *("unreadable", "nonfinite", "nonfinite-base", "zeroed"),
    *("sign-flipped", "replaced", "pruned", "multiplied", "overwritten"),
)
#: Entries under which a direction is chance: 64 independent ones have a cosine of ±0.125.
_MATRIX, _VECTOR = 64, 16
#: What sums over float32 lanes may differ by, relative to their size.
_EXACT = 1e-6
#: Storage rounds each entry: so many times that error squared may lie beside a multiple of W.
_ROUNDED, _MOST_ROUNDED = 4.0, 0.01


@dataclass(frozen=True, eq=False)
class Damage:
    """What is broken, with the numbers that say so: an entry for each row of the diff.

    Attributes
    ----------
    kinds
        By kind, which rows are of it.
    cosine, scale, relative
        cos(W, W₁), c* and ‖Δ‖/‖W‖ of tensors that are stored on both sides, over entries that are
        finite there; NaN for others, and where a side is zero.
    usual
        The median relative norm of matrices that are not broken; NaN where there are none.
    chance
        Standard deviation of the cosine of independent entries, 1/√N.
    zeroed_share
        #(Δ ≠ 0)/N, which is the share of new zeros where nothing else changed.
    """

    kinds: Mapping[str, Array]
    cosine: Array
    scale: Array
    relative: Array
    usual: float
    chance: Array
    zeroed_share: Array

    @property
    def broken(self) -> Array:
        """Rows of any kind."""
        rows: Array = np.logical_or.reduce([*self.kinds.values()])
        return rows


def damage_of(
    diff: Diff,
    *,
    flipped: float = 0.9,
    replaced: float = 0.1,
    pruned: float = 0.01,
    multiplied: float = 0.05,
    overwritten: float = 10.0,
) -> Damage:
    """Sort out what is broken.

    Parameters
    ----------
    diff
        What was compared.
    flipped
        A sign is flipped from a cosine of minus this on, or where 95 % of the entries crossed zero.
    replaced
        Nothing is left of a direction under this cosine, or under three standard deviations of
        that of independent entries.
    pruned
        The least share of new zeros.
    multiplied
        The least |c − 1| of a multiple; it is also above the median relative norm of the other
        matrices, so that the weight decay of what had no gradient is none.
    overwritten
        A matrix that moved by more than its own norm, and by so many times what the median of the
        other matrices did, was not trained as they were.
    """
    sums = _Sums(diff.columns)
    tests = {
        "unreadable": sums.columns["status"] == UNREADABLE,
        "nonfinite": sums["nonfinite_tuned"] > 0,
        "nonfinite-base": sums["nonfinite_base"] > 0,
        "zeroed": sums.judged & (sums["tuned_sq"] == 0) & (sums["base_sq"] > 0) & (sums.n > 1),
        "sign-flipped": sums.flipped(flipped),
        "replaced": sums.replaced(replaced),
        "pruned": sums.pruned(pruned),
    }
    kinds, free = {}, np.ones(length(diff.columns), bool)
    for kind, mask in tests.items():
        kinds[kind] = free & mask
        free &= ~kinds[kind]
    multiples = free & sums.multiples()
    usual = sums.usual(free & ~multiples)
    far = np.abs(sums.scale - 1) >= np.fmax(multiplied, usual) * (1 - _EXACT)
    kinds["multiplied"] = multiples & far
    free &= ~multiples & sums.matrix & (sums.n >= _MATRIX)
    kinds["overwritten"] = free & (sums.relative >= np.fmax(1.0, overwritten * usual))
    entries = np.maximum(sums.n, 1)
    share = sums["unequal"] / entries
    numbers = (sums.cosine, sums.scale, sums.relative, usual, 1 / np.sqrt(entries), share)
    return Damage(kinds, *numbers)


class _Sums:
    """The columns that are judged, as numbers."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.n = floats(columns["numel"])
        self.matrix = np.array([s is not None and len(s) > 1 for s in columns["shape"]], bool)
        stored = there(columns["base_dtype"]) & there(columns["tuned_dtype"])
        self.judged = stored & among(columns["status"], MOVED)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            length_sq = np.where(self.judged, self["base_sq"] * self["tuned_sq"], np.nan)
            along = self["base_sq"] + self["inner"]
            self.cosine = np.clip(
                along / np.sqrt(np.where(length_sq > 0, length_sq, np.nan)), -1, 1
            )
            base_sq = np.where(length_sq > 0, self["base_sq"], np.nan)
            self.scale = along / base_sq
            self.relative = np.sqrt(self["delta_sq"] / base_sq)

    def __getitem__(self, name: str) -> Array:
        return floats(self.columns[name])

    def flipped(self, cosine: float) -> Array:
        crossed = self.judged & (self["sign_flips"] >= 0.95 * self.n)
        turned: Array = (self.cosine <= -cosine) | crossed
        return turned & (self.n >= _VECTOR)

    def replaced(self, cosine: float) -> Array:
        """Matrices alone: a bias may begin near zero, and turn anywhere."""
        limit = np.maximum(cosine, 3 / np.sqrt(np.maximum(self.n, 1)))
        gone: Array = (self.cosine < limit) & self.matrix & (self.n >= _MATRIX)
        return gone

    def pruned(self, share: float) -> Array:
        with np.errstate(invalid="ignore"):  # sums beyond a float's range
            kept: Array = np.abs(self["inner"] + self["delta_sq"]) <= _EXACT * self["delta_sq"]
        some = (self["unequal"] >= np.maximum(share * self.n, 8)) & (self["unequal"] < self.n)
        kept &= self.judged & some & (self["sign_flips"] == 0) & (self["delta_sq"] > 0)
        return kept

    def multiples(self) -> Array:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            beside = 1 - self["inner"] ** 2 / (self["base_sq"] * self["delta_sq"])
            rounding = _ROUNDED * self["ulp_sq"] / 12 / self["delta_sq"]
        known = ~np.isnan(rounding)
        if "reason" in self.columns:  # rounding to few bits is never so small
            known &= ~with_code(self.columns, COARSE)
        rounding = np.where(known, np.minimum(rounding, _MOST_ROUNDED), 0.0)
        close: Array = beside <= _EXACT + rounding
        close &= self.judged & (self.scale > 0) & (self.n >= _VECTOR)
        return close

    def usual(self, sound: Array) -> float:
        rest = self.relative[sound & self.matrix & np.isfinite(self.relative)]
        return float(np.median(rest)) if len(rest) else float("nan")
