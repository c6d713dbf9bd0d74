"""Entries of a merge that took one parent's change, both or none: TIES and DARE leave such."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ftdiff.tensors import Array

#: An entry tells a strength where it is changed by more than so many spacings.
_TELLING = 1.5
#: What sums and products of few bits leave open of a strength, and how sharply one entry tells it.
_LOW = 0.004
#: Entries that are needed to say anything.
_LEAST = 50
#: A class has at least this share, and all of them together this one; of those entries that are
#: not as the base has them at least the last.
_CLASS, _ALL, _MOVED = 0.02, 0.95, 0.9
#: Entries that took both changes have so much of each beside those of one: a mean or the sum. Else
#: they were taken from another base.
_SHARE = (0.1, 1.1)
#: From this AUROC of size for "is in" on, the largest were taken; up to the other, any.
_BY_SIZE, _BY_CHANCE = 0.7, 0.6
#: From this share on every change of a parent is in: nothing was dropped.
_EVERY = 0.98
#: How near an entry is to its class: in spacings, and in steps of the dtype at the class itself,
#: whose terms may have been rounded on the way. So many times as far apart classes must lie.
_NEAR, _STEPS, _APART = 0.75, 0.75, 1.33
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


@dataclass(frozen=True)
class Sparse:
    """How entries took their change.

    Attributes
    ----------
    strengths
        What a parent's change is multiplied with where it is in alone; NaN where it never is.
    density
        The share of each parent's entries that were kept before signs were elected; NaN where all
        are in that are changed at all, which any density above their share leaves.
    auroc
        How well the size of a change tells whether it is in: near 1 where the largest were kept
        (TIES), near .5 where chance decided (DARE).
    explained
        The share of the telling entries that are of one of the classes.
    entries
        How many entries tell.
    by_size
        Whether the largest were kept, or any; None where it looks like neither.
    asked, both
        How many entries were asked for both of two changes of unlike sign, and how many have both:
        few where signs were elected.
    """

    strengths: tuple[float, ...]
    density: tuple[float, ...]
    auroc: float
    explained: float
    entries: int
    by_size: bool | None
    asked: float
    both: int

    @property
    def like(self) -> str:
        """Which way of choosing it looks like."""
        return like(self.by_size, self.asked, self.both)


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


def sparse(D: Array, y: Array, ulp: Array, step: float = 0.0) -> Sparse | None:
    """Sort entries into classes; None where they are not of such classes.

    Parameters
    ----------
    D
        The changes of all parents, parents × entries, float64; one or two of them not zero.
    y, ulp
        The merged change, and the spacing of what is stored.
    step
        The spacing of the dtype's numbers at 1, if terms may have been rounded to it.
    """
    used = np.asarray(D.any(axis=1))
    if used.sum() not in (1, 2):
        return None
    found = _sparse(D[used], y, ulp, step)
    return None if found is None else replace(
        found,
        strengths=_spread(found.strengths, used),
        density=_spread(found.density, used),
    )  # fmt: skip


def _spread(values: tuple[float, ...], used: Array) -> tuple[float, ...]:
    whole = np.full(len(used), np.nan)
    whole[used] = values
    return tuple(whole.tolist())


def _sparse(D: Array, y: Array, ulp: Array, step: float) -> Sparse | None:
    found = [_strength(d, y, ulp) for d in D]
    if any(value is None for value in found):
        return None
    alone = np.array([value for value in found if value is not None])
    classes = np.vstack([np.zeros_like(y), alone[:, None] * D])
    near = _NEAR * ulp + _STEPS * step * np.abs(classes)
    if len(D) > 1:
        rest = _apart(classes, near) & ~(np.abs(y - classes) <= near).any(axis=0)
        both = _both(D[:, rest], y[rest], near[:, rest].max(axis=0), alone)
        classes = np.vstack([classes, both @ D])
        near = np.vstack([near, _NEAR * ulp + _STEPS * step * (np.abs(both) @ np.abs(D))])
    told = _apart(classes, near)
    count = int(told.sum())
    if count < _LEAST:
        return None
    distance = np.abs(y - classes) / near
    fits = distance.min(axis=0) <= 1
    moved = told & (distance[0] > 1)
    shares = np.bincount(distance.argmin(axis=0)[fits & told], minlength=4) / count
    if fits[told].mean() < _ALL or fits[moved].mean() < _MOVED or max(shares[1:3]) < _CLASS:
        return None
    if len(D) > 1 and shares[3] >= _CLASS:
        each = both / alone
        if each.min() < _SHARE[0] or each.max() > _SHARE[1]:
            return None
    kept = _Kept(D, classes, near, distance)
    if not (kept.dropped or kept.every):
        return None
    strengths = [_sharper(d, y, ulp, s) for d, s in zip(D, alone, strict=True)]
    return Sparse(
        tuple(s if own else float("nan") for s, own in zip(strengths, kept.inside, strict=True)),
        tuple(kept.density(i) for i in range(len(D))),
        kept.auroc,
        float(fits[told].mean()),
        count,
        kept.by_size,
        *kept.elections(),
    )


class _Kept:
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
            bool(tells.any() and held[tells].mean() >= _CLASS)
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
        self.dropped = bool(own) and min(shares) <= 1 - _CLASS
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
        if self.every or (self.auroc >= _BY_SIZE and self.sure):
            return True
        return False if self.auroc <= _BY_CHANCE else None

    def density(self, i: int) -> float:
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
            asked &= _apart(self.classes, self.near, [(1, 3), (2, 3)])
            asked &= np.abs(self.classes[3]) > self.near[3]  # equal ones leave none when elected
            return float(asked.sum()), int((self.distance[3][asked] <= 1).sum())
        asked = self.against & _apart(self.classes, self.near) & (self.distance.min(axis=0) <= 1)
        kept = np.prod([self._free(i)[1].mean() for i in (0, 1)])
        return float(asked.sum() * kept), int((self.which[asked] == 3).sum())


def _parted(classes: Array, near: Array, i: int) -> Array:
    """Say for which entries the classes with a parent lie apart from those without."""
    within = [j for j in range(len(classes)) if j in (1 + i, 3)]
    without = [j for j in range(len(classes)) if j not in within]
    return _apart(classes, near, [(j, k) for j in within for k in without])


def _apart(classes: Array, near: Array, pairs: list[tuple[int, int]] | None = None) -> Array:
    """Say for which entries classes lie apart, all of them or some pairs."""
    pairs = pairs or [(i, j) for i in range(len(classes)) for j in range(i)]
    distances = np.array([np.abs(classes[i] - classes[j]) for i, j in pairs])
    room = np.array([near[i] + near[j] for i, j in pairs])
    return np.array((distances > _APART * room).all(axis=0))


def _strength(d: Array, y: Array, ulp: Array) -> float | None:
    """Return the one strength that the most entries agree on."""
    telling = (np.abs(d) > _TELLING * ulp) & (np.abs(y) > ulp / 4)
    if telling.sum() < _LEAST:
        return None
    ratio = y[telling] / d[telling]
    half = ulp[telling] / 2 / np.abs(d[telling]) + _LOW * np.abs(ratio)
    ends = np.concatenate([ratio - half, ratio + half])
    # the narrower an entry's interval, the more it says, but one alone decides nothing
    says = 1 / np.maximum(half, _LOW)
    says = np.concatenate([says, -says])
    order = np.lexsort((-np.sign(says), ends))
    cover = np.cumsum(says[order])
    best = int(cover.argmax())
    return float((ends[order][best] + ends[order][min(best + 1, len(ends) - 1)]) / 2)


def _sharper(d: Array, y: Array, ulp: Array, strength: float) -> float:
    """Return the mean strength of the entries of one, weighed by what each tells of it."""
    own = (np.abs(d) > _TELLING * ulp) & (np.abs(y - strength * d) <= _NEAR * ulp)
    weights = (d[own] / ulp[own]) ** 2
    return float(np.average(y[own] / d[own], weights=weights)) if own.any() else strength


def _both(D: Array, y: Array, near: Array, alone: Array) -> Array:
    """Return the coefficients of entries that took both changes: their sum, or a mean of them."""
    if D.shape[1] < 2:
        return alone
    tries = [alone, alone / 2]
    fitted, *_ = np.linalg.lstsq((D / near).T, y / near, rcond=None)
    tries.append(fitted)
    right = [float((np.abs(y - c @ D) <= near).mean()) for c in tries]
    return np.asarray(tries[int(np.argmax(right))])


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
