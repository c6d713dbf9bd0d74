"""From sums over tensors to numbers of pairs: every formula of a similarity, and its null."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ftdiff.tensors import Array

#: Sums of a group's tensors: each T × n × n or T × n, and `numel`, T.
Sums = Mapping[str, Array]
#: Of both squared changes, how much the tensors must hold of which the cosine before rounding is
#: known, and the standard error above which it says nothing.
_ENOUGH, _TOO_WIDE = 0.5, 0.2
#: Numbers by name, each n × n.
Numbers = dict[str, Array]


def cosines(sums: Sums) -> Numbers:
    """Return the cosine of ΔW, and what independent changes would give.

    Numbers
    -------
    cosine
        Σ⟨ΔWᵢ, ΔWⱼ⟩ / √(Σ‖ΔWᵢ‖² Σ‖ΔWⱼ‖²) over the tensors that are known of both, in [−1, 1].
    cosine_null
        The standard deviation of that cosine if each tensor's change were turned at random on
        both sides: √(Σ ‖ΔWᵢ‖²‖ΔWⱼ‖²/N) over the same root, N the tensor's entries. For one
        tensor this is 1/√N whatever its rank, since E⟨X, QYP⟩² = ‖X‖²‖Y‖²/N for random rotations
        Q and P (second moments of the Haar measure).
    interference
        2⟨ΔWᵢ, ΔWⱼ⟩ / (‖ΔWᵢ‖² + ‖ΔWⱼ‖²): how much longer, squared, the sum of the two is than if
        they were orthogonal. 1 for two that are the same, −1 for opposites.
    norm_ratio
        ‖ΔWⱼ‖ / ‖ΔWᵢ‖, row i, column j.
    snr
        The smaller of the two ‖ΔW‖² over what rounding to the storage dtype gives alone; infinite
        for two adapters, which were not rounded. Under 10 the cosine is biased: rounding each by
        itself pulls it towards 0, and the base's own rounding, where there is one, towards 1.
    rounding_cosine
        The cosine of two that did not move: of the base's own rounding to the storage dtypes,
        over both ‖ΔW‖. Unrelated changes are pulled towards 1 up to it. 0 where the base is on the
        grid, and of two dtypes; NaN where that is not known.
    cosine_unrounded, cosine_unrounded_error
        The cosine before the two were rounded to their storage dtypes, and its standard error:
        from the entries in which the spacing of the dtype's numbers is at most half of the change
        (a weight of 0 or 1 for 1/spacing²), less spacing²/12 for each square; a sample of up to
        131,072 entries of each tensor. They are small weights: the change is taken not to depend
        on its weight's size. `cosine` itself, and 0, of changes that were not rounded or are far
        larger; NaN where the grid is too coarse to say, and in files that do not hold it.
    """
    inner = sums["inner"]
    known = np.isfinite(inner)
    own = np.einsum("tii->ti", inner)
    with np.errstate(all="ignore"):
        a = np.where(known, own[:, :, None], 0.0).sum(axis=0)
        b = np.where(known, own[:, None, :], 0.0).sum(axis=0)
        total = np.where(known, inner, 0.0).sum(axis=0)
        spread = np.where(known, own[:, :, None] * own[:, None, :], 0.0)
        chance = (spread / sums["numel"][:, None, None]).sum(axis=0)
        size = np.sqrt(a * b)
        cosine = np.where(size > 0, np.clip(total / size, -1, 1), np.nan)
        return {
            "cosine": cosine,
            "cosine_null": np.where(size > 0, np.sqrt(chance) / size, np.nan),
            "interference": np.where(a + b > 0, 2 * total / (a + b), np.nan),
            "norm_ratio": np.where(a > 0, np.sqrt(b / a), np.nan),
            "snr": _snr(own, sums["floor_sq"]),
            "rounding_cosine": np.where(
                size > 0, np.minimum(_shared(sums, known) / size, 1), np.nan
            ),
            **_unrounded(sums, cosine),
        }


def _unrounded(sums: Sums, stored: Array) -> Numbers:
    """Return the cosine before rounding, over the tensors of which it is known, if these suffice.

    They are to hold half of both squared changes.
    """
    if "unrounded" not in sums:
        rounded = np.asarray((sums["floor_sq"] > 0).any(axis=0))
        either = rounded[:, None] | rounded[None, :]
        cosine = np.where(either, np.nan, stored)
        return {
            "cosine_unrounded": cosine,
            "cosine_unrounded_error": np.where(np.isnan(cosine), np.nan, 0.0),
        }
    inner, before = sums["inner"], sums["unrounded"]
    own, mine = np.einsum("tii->ti", before), np.einsum("tii->ti", inner)
    known = np.isfinite(before) & np.isfinite(own)[:, :, None] & np.isfinite(own)[:, None, :]
    a = np.where(known, own[:, :, None], 0.0).sum(axis=0)
    b = np.where(known, own[:, None, :], 0.0).sum(axis=0)
    there = np.isfinite(inner)
    first = np.where(there, mine[:, :, None], 0.0)
    enough = np.where(known, first, 0.0).sum(axis=0) >= _ENOUGH * first.sum(axis=0)
    size = np.sqrt(a * b)
    error = np.sqrt(np.where(known, sums["unrounded_error_sq"], 0.0).sum(axis=0)) / size
    told = (size > 0) & enough & enough.T & (error <= _TOO_WIDE)
    total = np.where(known, before, 0.0).sum(axis=0)
    return {
        "cosine_unrounded": np.where(told, np.clip(total / size, -1, 1), np.nan),
        "cosine_unrounded_error": np.where(told, error, np.nan),
    }


def _snr(own: Array, floor_sq: Array) -> Array:
    moved = np.isfinite(own) & (own > 0)
    signal = np.where(moved, own, 0.0).sum(axis=0)
    noise = np.where(moved, floor_sq, 0.0).sum(axis=0)
    each = np.where(signal > 0, signal / noise, np.nan)
    return np.minimum(each[:, None], each[None, :])


def _shared(sums: Sums, known: Array) -> Array:
    """Return what the same rounding of the base adds to ⟨ΔWᵢ, ΔWⱼ⟩.

    The errors of two dtypes have next to nothing in common (a cosine of −1/16 for bfloat16 and
    float16), and are told apart by their squares: those of one dtype are equal to the bit.
    """
    each = sums.get("base_rounding_sq", np.full_like(sums["floor_sq"], np.nan))
    one, other = each[:, :, None], each[:, None, :]
    both = np.where((one == other) | np.isnan(one + other), one, 0.0)
    return np.asarray(np.where(known, both, 0.0).sum(axis=0))


def masks(sums: Sums) -> Numbers:
    """Return how the entries that changed overlap, for stored checkpoints.

    Numbers
    -------
    mask_jaccard, mask_jaccard_null
        Entries that both changed over those that either changed; the same if each tensor's
        changed entries were drawn independently.
    mask_lift
        Entries that both changed over how many independent draws would share. 1 by chance.
    """
    with np.errstate(all="ignore"):
        shared, either, expected = _overlap(sums["masks.both"], sums["numel"])
        return {
            "mask_jaccard": shared / (either - shared),
            "mask_jaccard_null": expected / (either - expected),
            "mask_lift": shared / expected,
        }


def signs(sums: Sums) -> Numbers:
    """Return how often the largest changes of two have opposite signs.

    Numbers
    -------
    sign_conflict, sign_conflict_null
        Of the entries that are among the largest fifth of both, the share with opposite signs;
        one half by chance (Yadav et al., TIES-Merging, 2306.01708).
    kept_lift
        Entries among the largest of both over how many independent draws would share.
    """
    with np.errstate(all="ignore"):
        shared, _, expected = _overlap(sums["signs.kept_both"], sums["numel"])
        return {
            "sign_conflict": np.nansum(sums["signs.opposed"], axis=0) / shared,
            "sign_conflict_null": np.where(shared > 0, 0.5, np.nan),
            "kept_lift": shared / expected,
        }


def _overlap(both: Array, numel: Array) -> tuple[Array, Array, Array]:
    """Return how many entries two have in common, have in all, and would share by chance.

    Over the tensors that are known of both; NaN where there is none.
    """
    known = np.isfinite(both)
    own = np.einsum("tii->ti", both)
    first = np.where(known, own[:, :, None], 0.0)
    second = np.where(known, own[:, None, :], 0.0)
    by_chance = (first * second / numel[:, None, None]).sum(axis=0)
    shared = np.where(known.any(axis=0), np.where(known, both, 0.0).sum(axis=0), np.nan)
    return shared, first.sum(axis=0) + second.sum(axis=0), by_chance


def subspaces(sums: Sums) -> Numbers:
    """Return how the leading directions of two overlap, as means over the tensors of both.

    Numbers
    -------
    left_overlap, right_overlap
        φ = ‖UᵢᵀUⱼ‖² / min(k) over the leading left (output) and right (input) singular vectors
        of ΔW, up to ten: 1 for the same space, 0 for orthogonal ones (Hu et al., LoRA,
        2106.09685, §7.2).
    left_overlap_null, right_overlap_null
        What random directions give: max(k) / dimension.
    left_angle, right_angle
        The smallest principal angle between the spaces, degrees.
    """
    found = {}
    for name in SPACES:
        values = sums[f"subspaces.{name}"]
        known = np.isfinite(values)
        count = known.sum(axis=0)
        with np.errstate(all="ignore"):
            found[name] = np.where(known, values, 0.0).sum(axis=0) / np.where(count, count, np.nan)
    return found


SPACES = tuple(
    f"{side}_{what}" for side in ("left", "right") for what in ("overlap", "overlap_null", "angle")
)
#: By measure, its formulas; the first is always taken.
FORMULAS: Mapping[str, Callable[[Sums], Numbers]] = {
    "cosine": cosines,
    "masks": masks,
    "signs": signs,
    "subspaces": subspaces,
}
