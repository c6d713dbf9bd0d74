"""Which changes a sparse merge kept, and how they were chosen: by size or chance, signs elected."""

from __future__ import annotations

import numpy as np

from ftdiff.tensors import Array

#: A class has at least this share.
CLASS = 0.02
#: So many times as far apart as an entry may be from one of them classes must lie.
_APART = 1.33
#: From this AUROC of size for "is in" on, the largest were taken; up to the other, any.
_BY_SIZE, _BY_CHANCE = 0.7, 0.6
#: From this share on every change of a parent is in: nothing was dropped.
_EVERY = 0.98
#: So many entries of which both of two signs must have been kept tell whether one was elected, and
#: so many of which they are expected to; it leaves fewer of them than the first share, and where
#: none was elected there are more than the second.
_ASKED, _EXPECTED, _ELECTED, _SUMMED = 3, 8, 0.25, 0.6
#: So many standard errors over .5 an AUROC is more than chance.
_SURE = 3.0
#: Ways of choosing, by (the largest, elected): a sign was elected where changes disagree, or not.
_WAYS = {
    (True, True): "TIES",
    (True, False): "pruned",
    (False, True): "DARE-TIES",
    (False, False): "DARE",
}
#: The ways in words.
SAID = {
    "TIES": "TIES-like",
    "pruned": "the largest changes of each, no sign elected",
    "DARE-TIES": "DARE-TIES-like",
    "DARE": "DARE-like",
    "": "how they were chosen is not told",
}


def like(by_size: bool | None, asked: float, both: float) -> str:
    """Return a way of choosing, a key of `SAID`; empty where it is not told.

    >>> like(True, asked=100, both=2), like(False, asked=100, both=97), like(True, asked=3, both=0)
    ('TIES', 'DARE', 'TIES')
    """
    share = both / max(asked, 1.0)
    least = _ASKED if by_size else _EXPECTED
    if by_size is None or asked < least or _ELECTED <= share <= _SUMMED:
        return ""
    return _WAYS[by_size, share < _ELECTED]


class Kept:
    """Which changes were kept, of entries whose class is known.

    Where changes have two signs, one may be left out though it was kept: these entries tell
    whether signs were elected, and the others what was kept before.
    """

    def __init__(self, D: Array, classes: Array, near: Array, distance: Array) -> None:
        self.D, self.classes, self.near, self.distance = D, classes, near, distance
        self.which = distance.argmin(axis=0)
        fits = distance.min(axis=0) <= 1
        self.held = [np.isin(self.which, (1 + i, 3)) for i in range(len(D))]
        #: For each parent, the entries that tell whether its change is in.
        self.tells = [fits & _parted(classes, near, i) for i in range(len(D))]
        #: Parents that are in at all.
        self.inside = [
            bool(tells.any() and held[tells].mean() >= CLASS)
            for held, tells in zip(self.held, self.tells, strict=True)
        ]
        several = len(D) > 1 and all(self.inside)
        self.against = D[0] * D[1] < 0 if several else np.zeros(D.shape[1], bool)
        own = [i for i in range(len(D)) if self.inside[i]]
        found = np.array([_auroc(*self._free(i)) for i in own] or [(0.5, 0.0)])
        self.auroc = float(found[:, 0].mean())
        self.sure = bool((found[:, 0] - 0.5 > _SURE * found[:, 1]).any())
        shares = [self._free(i)[1].mean() for i in own]
        #: Whether some are out, and whether none is but by its sign.
        self.dropped = bool(own) and min(shares) <= 1 - CLASS
        self.every = several and min(shares) >= _EVERY and self._elects()

    def _free(self, i: int) -> tuple[Array, Array]:
        """Return the sizes of a parent's changes where the other's do not hinder, and if in."""
        free = self.tells[i] & ~self.against
        return np.abs(self.D[i, free]), self.held[i][free]

    def _elects(self) -> bool:
        asked = self.against & self.tells[0] & self.tells[1]
        return bool(asked.sum() >= _EXPECTED and (self.which[asked] == 3).mean() < _ELECTED)

    @property
    def by_size(self) -> bool | None:
        """Whether the largest were kept, or any; None where it looks like neither."""
        if self.every or (self.auroc >= _BY_SIZE and self.sure):
            return True
        return False if self.auroc <= _BY_CHANCE else None

    def density(self, i: int) -> float:
        """Return the share of a parent's entries that were kept."""
        sizes, held = self._free(i)
        if not self.inside[i]:
            return 0.0
        if held.mean() >= _EVERY and self.by_size:
            return float("nan")
        if self.by_size:
            return float((np.abs(self.D[i]) >= _cut(sizes, held)).mean())
        return float(held.mean())

    def elections(self) -> tuple[float, int]:
        """Return how many entries were asked for both of two signs, and how many have both."""
        if not self.against.any():
            return 0.0, 0
        if self.by_size:  # none of these is out: both need not lie far from none
            large = [np.abs(self.D[i]) >= _cut(*self._free(i)) for i in (0, 1)]
            asked = self.against & large[0] & large[1]
            asked &= apart(self.classes, self.near, [(1, 3), (2, 3)])
            asked &= np.abs(self.classes[3]) > self.near[3]  # equal ones leave none when elected
            return float(asked.sum()), int((self.distance[3][asked] <= 1).sum())
        asked = self.against & apart(self.classes, self.near) & (self.distance.min(axis=0) <= 1)
        kept = np.prod([self._free(i)[1].mean() for i in (0, 1)])
        return float(asked.sum() * kept), int((self.which[asked] == 3).sum())


def _parted(classes: Array, near: Array, i: int) -> Array:
    """Say for which entries the classes with a parent lie apart from those without."""
    within = [j for j in range(len(classes)) if j in (1 + i, 3)]
    without = [j for j in range(len(classes)) if j not in within]
    return apart(classes, near, [(j, k) for j in within for k in without])


def apart(classes: Array, near: Array, pairs: list[tuple[int, int]] | None = None) -> Array:
    """Say for which entries classes lie apart, all of them or some pairs."""
    pairs = pairs or [(i, j) for i in range(len(classes)) for j in range(i)]
    distances = np.array([np.abs(classes[i] - classes[j]) for i, j in pairs])
    room = np.array([near[i] + near[j] for i, j in pairs])
    return np.array((distances > _APART * room).all(axis=0))


def _auroc(sizes: Array, isin: Array) -> tuple[float, float]:
    """Return how often a change that is in is larger than one that is not, and by chance ± what."""
    inside, outside = int(isin.sum()), int((~isin).sum())
    if not inside or not outside:
        return 0.5, 0.0
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    pairs = inside * outside
    found = float((ranks[isin].sum() - inside * (inside + 1) / 2) / pairs)
    return found, float(np.sqrt((inside + outside + 1) / (12 * pairs)))


def _cut(sizes: Array, isin: Array) -> float:
    """Return the size from which on changes are in, with the fewest that are not so."""
    order = np.argsort(sizes, kind="stable")
    ordered, inside = sizes[order], isin[order]
    # with the cut before the i-th: those in below it, and those out from it on
    wrong = np.r_[0, np.cumsum(inside)] + np.r_[np.cumsum(~inside[::-1])[::-1], 0]
    new = np.r_[True, ordered[1:] > ordered[:-1], True]
    best = int(np.where(new, wrong, len(sizes) + 1).argmin())
    return float(ordered[best]) if best < len(ordered) else float("inf")
