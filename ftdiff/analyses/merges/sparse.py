"""Entries of a merge that took one parent's change, both or none: TIES and DARE leave such."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ftdiff.analyses.merges.kept import CLASS, SAID, Kept, apart, like
from ftdiff.tensors import Array

#: An entry tells a strength where it is changed by more than so many spacings.
_TELLING = 1.5
#: What sums and products of few bits leave open of a strength, and how sharply one entry tells it.
_LOW = 0.004
#: Entries that are needed to say anything.
_LEAST = 50
#: All classes together have at least this share of the entries that tell; and the second of those
#: that are not as the base has them.
_ALL, _MOVED = 0.95, 0.9
#: Entries that took both changes have so much of each beside those of one: a mean or the sum. Else
#: they were taken from another base.
_SHARE = (0.03, 1.1)
#: How near an entry is to its class: in spacings, and in steps of the dtype at the class itself,
#: whose terms may have been rounded on the way.
_NEAR, _STEPS = 0.75, 0.75


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

    def row(self) -> dict[str, Any]:
        """Return what a tensor's row says of it."""
        density, strengths = (
            tuple(None if math.isnan(one) else one for one in each)
            for each in (self.density, self.strengths)
        )
        shown = ", ".join("any" if one is None else f"{one:.2f}" for one in density)
        return {
            "status": "sparse",
            "like": self.like or None,
            "density": density,
            "strengths": strengths,
            "auroc": self.auroc,
            "by_size": self.by_size,
            "asked": self.asked,
            "both": self.both,
            "said": f"{SAID[self.like]}: entries took one change, both or none; density {shown}",
        }


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
        rest = apart(classes, near) & ~(np.abs(y - classes) <= near).any(axis=0)
        both = _both(D[:, rest], y[rest], near[:, rest].max(axis=0), alone)
        classes = np.vstack([classes, both @ D])
        near = np.vstack([near, _NEAR * ulp + _STEPS * step * (np.abs(both) @ np.abs(D))])
    told = apart(classes, near)
    count = int(told.sum())
    if count < _LEAST:
        return None
    distance = np.abs(y - classes) / near
    fits = distance.min(axis=0) <= 1
    moved = told & (distance[0] > 1)
    shares = np.bincount(distance.argmin(axis=0)[fits & told], minlength=4) / count
    if fits[told].mean() < _ALL or fits[moved].mean() < _MOVED or max(shares[1:3]) < CLASS:
        return None
    if len(D) > 1 and shares[3] >= CLASS:
        each = both / alone
        if each.min() < _SHARE[0] or each.max() > _SHARE[1]:
            return None
    kept = Kept(D, classes, near, distance)
    if not (kept.dropped or kept.every):
        return None
    strengths = [
        _sharper(D[i], y, ulp, told & fits & (kept.which == 1 + i), alone[i]) for i in range(len(D))
    ]
    return Sparse(
        tuple(s if own else float("nan") for s, own in zip(strengths, kept.inside, strict=True)),
        tuple(kept.density(i) for i in range(len(D))),
        kept.auroc,
        float(fits[told].mean()),
        count,
        kept.by_size,
        *kept.elections(),
    )


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


def _sharper(d: Array, y: Array, ulp: Array, own: Array, strength: float) -> float:
    """Return the mean strength of the entries of one alone, weighed by what each tells of it."""
    weights = np.where(own, (d / ulp) ** 2, 0.0)
    total = float(weights.sum())
    return float(weights[own] @ (y[own] / d[own])) / total if total else strength


def _both(D: Array, y: Array, near: Array, alone: Array) -> Array:
    """Return the coefficients of entries that took both changes: their sum, or a mean of them."""
    if D.shape[1] < 2:
        return alone
    tries = [alone, alone / 2]
    fitted, *_ = np.linalg.lstsq((D / near).T, y / near, rcond=None)
    tries.append(fitted)
    right = [float((np.abs(y - c @ D) <= near).mean()) for c in tries]
    return np.asarray(tries[int(np.argmax(right))])
