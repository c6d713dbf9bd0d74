"""Entries of a merge that took one parent's change, both or none: TIES and DARE leave such."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftdiff.tensors import Array

#: An entry tells a strength where its rounding leaves it no more room than this.
_SHARP = 0.05
#: No entry counts as if it left less than this.
_FINEST = 0.002
#: Entries that are needed to say anything.
_LEAST = 50
#: A class has at least this share, and all of them together this one.
_CLASS, _ALL = 0.02, 0.95
#: From this AUROC of size for "is in" on, the largest were taken; up to the other, any.
_BY_SIZE, _BY_CHANCE = 0.7, 0.6
#: How far, in spacings, classes must lie apart for an entry to be of one, and how near it is to it.
_APART, _NEAR = 2.0, 0.75


@dataclass(frozen=True)
class Sparse:
    """How entries took their change.

    Attributes
    ----------
    strengths
        What a parent's change is multiplied with where it is in alone.
    density
        The share of each parent's entries that were kept.
    auroc
        How well the size of a change tells whether it is in: near 1 where the largest were kept
        (TIES), near .5 where chance decided (DARE).
    explained
        The share of the telling entries that are of one of the classes.
    entries
        How many entries tell.
    """

    strengths: tuple[float, ...]
    density: tuple[float, ...]
    auroc: float
    explained: float
    entries: int

    @property
    def like(self) -> str:
        """Which way of choosing it looks like; empty where neither."""
        if self.auroc >= _BY_SIZE:
            return "TIES"
        return "DARE" if self.auroc <= _BY_CHANCE else ""


def sparse(D: Array, y: Array, ulp: Array) -> Sparse | None:
    """Sort entries into classes; None where they are not of such classes.

    Parameters
    ----------
    D
        The changes of two parents, 2 × entries, float64.
    y, ulp
        The merged change, and the spacing of what is stored.
    """
    if len(D) != 2:
        return None
    found = [_strength(d, y, ulp) for d in D]
    if any(value is None for value in found):
        return None
    alone = np.array([value for value in found if value is not None])
    a, b = alone[:, None] * D
    zero = np.zeros_like(a)
    first = np.array([zero, a, b])
    within = np.abs(y - first) <= _NEAR * ulp
    told = _apart(first, ulp)
    rest = told & ~within.any(axis=0)
    both = _both(D[:, rest], y[rest], ulp[rest], alone)
    classes = np.array([zero, a, b, both @ D])
    told = _apart(classes, ulp)
    count = int(told.sum())
    if count < _LEAST:
        return None
    distance = np.abs(y - classes)[:, told] / ulp[told]
    which, nearest = distance.argmin(axis=0), distance.min(axis=0)
    fits = nearest <= _NEAR
    shares = np.bincount(which[fits], minlength=4) / count
    explained = float(fits.mean())
    if explained < _ALL or min(shares[0], max(shares[1], shares[2])) < _CLASS:
        return None
    held = [np.isin(which[fits], (1 + i, 3)) for i in (0, 1)]
    sizes = [np.abs(D[i, told][fits]) for i in (0, 1)]
    auroc = float(np.mean([_auroc(size, isin) for size, isin in zip(sizes, held, strict=True)]))
    by_size = auroc >= _BY_SIZE
    density = tuple(
        _above(np.abs(D[i]), sizes[i][held[i]]) if by_size else float(held[i].mean())
        for i in (0, 1)
    )
    return Sparse(tuple(alone.tolist()), density, auroc, explained, count)


def _apart(classes: Array, ulp: Array) -> Array:
    """Say for which entries all classes lie apart."""
    pairs = [(i, j) for i in range(len(classes)) for j in range(i)]
    return np.array(np.all([np.abs(classes[i] - classes[j]) > _APART * ulp for i, j in pairs], 0))


def _strength(d: Array, y: Array, ulp: Array) -> float | None:
    """Return the one strength that the most entries agree on, of those that tell it sharply."""
    sharp = (np.abs(d) > ulp / _SHARP) & (y != 0)
    if sharp.sum() < _LEAST:
        return None
    ratio, half = y[sharp] / d[sharp], ulp[sharp] / 2 / np.abs(d[sharp])
    ends = np.concatenate([ratio - half, ratio + half])
    # the narrower an entry's interval, the more it says, but one alone decides nothing
    says = 1 / np.maximum(half, _FINEST)
    says = np.concatenate([says, -says])
    order = np.lexsort((-np.sign(says), ends))
    cover = np.cumsum(says[order])
    best = int(cover.argmax())
    return float((ends[order][best] + ends[order][min(best + 1, len(ends) - 1)]) / 2)


def _both(D: Array, y: Array, ulp: Array, alone: Array) -> Array:
    """Return the coefficients of entries that took both changes: their sum, or a mean of them."""
    if D.shape[1] < 2:
        return alone
    tries = [alone, alone / 2]
    weights = 1 / ulp
    fitted, *_ = np.linalg.lstsq((D * weights).T, y * weights, rcond=None)
    tries.append(fitted)
    right = [float((np.abs(y - c @ D) <= _NEAR * ulp).mean()) for c in tries]
    return np.asarray(tries[int(np.argmax(right))])


def _auroc(sizes: Array, isin: Array) -> float:
    """Return how often a change that is in is larger than one that is not; .5 where all are."""
    inside, outside = int(isin.sum()), int((~isin).sum())
    if not inside or not outside:
        return 0.5
    ranks = np.empty(len(sizes))
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    return float((ranks[isin].sum() - inside * (inside + 1) / 2) / (inside * outside))


def _above(sizes: Array, kept: Array) -> float:
    """Return which share of all is at least as large as nearly the smallest that was kept."""
    if not len(kept):
        return 0.0
    return float((sizes >= np.quantile(kept, 0.002)).mean())
