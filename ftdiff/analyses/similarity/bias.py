"""Which way rounding pulls a cosine, and what is said of those under the rounding floor.

Two errors pull in opposite directions. Each change is rounded by itself: that lengthens it, or
drops what is under half a unit, in no common direction, and pulls the cosine of alike changes
towards 0. Where the base is not on the grid of the storage dtype, its own rounding error is in
both changes besides, and pulls the cosine of unrelated ones towards 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ftdiff.analyses.finding import Finding, counted, listed
from ftdiff.analyses.similarity import clusters
from ftdiff.analyses.similarity.result import Similarity
from ftdiff.metrics import TRUSTED_SNR, faint
from ftdiff.numbers import signed

#: A cosine that rounding moved by less is not spoken of.
_MOVED = 0.02
_TOWARDS_0 = "rounded each by itself, its cosines are pulled towards 0"


def under_the_floor(found: Similarity) -> Iterator[Finding]:
    """Say of each change that does not stand out of rounding which way its cosines are pulled."""
    snr = found.table("snr").to_numpy().diagonal()
    shared = found.table("rounding_cosine").to_numpy().diagonal()
    for name, value, share in zip(found.names, snr, shared, strict=True):
        if faint(value):
            towards, why = _pull(float(share))
            yield Finding(
                "under-the-floor",
                "caution",
                f"{name}: its squared change is {value:.2g} times the rounding error of its "
                f"storage dtype, squared (trusted from {TRUSTED_SNR:g}): {why}",
                {
                    "name": name,
                    "snr": float(value),
                    "base_rounding": float(share) if np.isfinite(share) else None,
                    "towards": towards,
                    "threshold": TRUSTED_SNR,
                },
            )


def _pull(share: float) -> tuple[int | None, str]:
    """Return where unrelated changes' cosines are pulled, and why, from the base's share."""
    if np.isnan(share):
        return None, (
            f"{_TOWARDS_0}; if the base has a wider dtype, those of unrelated changes are pulled "
            "towards 1 (this file does not say)"
        )
    if share > 0:
        return 1, (
            "the base is off that dtype's grid, and its own rounding error, as large as "
            f"{share:.0%} of the squared change, is the same in every fine-tune that is stored so: "
            f"it pulls the cosines of unrelated changes towards 1 (up to {share:.2g}), while those "
            "of alike ones are pulled towards 0 by what differs"
        )
    return 0, f"the base is on that dtype's grid; {_TOWARDS_0}"


def alike_by_rounding(found: Similarity) -> Iterator[Finding]:
    """Name the pairs that would be called one change if the base's rounding were not in both."""
    pairs = found.by()
    same = (pairs["cosine"] > clusters.SAME) & clusters.alike_by_rounding(pairs)
    rows = pairs[same].to_dict("records")
    if rows:
        least = min(row["rounding_cosine"] for row in rows)
        names = [f"{row['a']} and {row['b']}" for row in rows]
        yield Finding(
            "alike-by-rounding",
            "caution",
            f"{listed(names)}: a cosine above {clusters.SAME:g} that does not make them one "
            "change: the base's own rounding to their storage dtype gives unrelated ones up to "
            f"{least:.4g}",
            {
                "pairs": [[row["a"], row["b"]] for row in rows],
                "cosine": min(row["cosine"] for row in rows),
                "rounding_cosine": least,
                "threshold": clusters.SAME,
            },
        )


def before_rounding(found: Similarity) -> Iterator[Finding]:
    """Say what the cosines were that rounding changed, where the files let one tell."""
    pairs = found.by()
    rows = [row for row in pairs.to_dict("records") if _pulled(row)]
    rows.sort(key=lambda row: -abs(row["cosine_unrounded"] - row["cosine"]))
    if rows:
        shown = [
            f"{row['a']} with {row['b']} {told(row)}, stored {signed(row['cosine'], '.2f')}"
            for row in rows
        ]
        yield Finding(
            "before-rounding",
            "note",
            f"before rounding the cosine of {listed(shown)} (from the entries in which the "
            "spacing of the dtype is at most half of the change)",
            {
                "pairs": [
                    {
                        key: row[key]
                        for key in (
                            "a",
                            "b",
                            "cosine",
                            "cosine_unrounded",
                            "cosine_unrounded_error",
                        )
                    }
                    for row in rows
                ]
            },
        )


def _pulled(pair: Mapping[Hashable, Any]) -> bool:
    """Say whether rounding moved a cosine by more than its estimate can be off."""
    moved = abs(pair["cosine_unrounded"] - pair["cosine"])
    return bool(moved > max(_MOVED, 2 * pair["cosine_unrounded_error"]))


def told(pair: Mapping[Hashable, Any]) -> str:
    """Return a pair's cosine before rounding with two standard errors."""
    return (
        f"is {signed(pair['cosine_unrounded'], '.3f')} ± {2 * pair['cosine_unrounded_error']:.2g}"
    )


def pulled(found: Similarity) -> int:
    """Return of how many pairs rounding moved the cosine so that it is worth saying."""
    return sum(_pulled(row) for row in found.by().to_dict("records"))


def warned(pair: Mapping[Hashable, Any]) -> str:
    """Return what a sentence about a pair's cosine has to add; nothing where it is to be trusted.

    Parameters
    ----------
    pair
        A row of `Similarity.by`.
    """
    if not faint(pair["snr"]):
        return ""
    before = "" if np.isnan(pair["cosine_unrounded"]) else f"; before rounding it {told(pair)}"
    return f" (squared change {pair['snr']:.2g} times the rounding error's: {_short(pair)}{before})"


def grouped(found: Similarity, groups: Sequence[Sequence[str]]) -> tuple[list[list[str]], str]:
    """Return the pairs inside groups whose cosines are biased, and what a sentence has to add."""
    rows = {frozenset((row["a"], row["b"])): row for row in found.by().to_dict("records")}
    inside = [pair for members in groups for pair in combinations(members, 2)]
    biased = [pair for pair in inside if faint(rows[frozenset(pair)]["snr"])]
    if not biased:
        return [], ""
    worst = max((rows[frozenset(pair)] for pair in biased), key=_shared)
    names = listed([f"{a} with {b}" for a, b in biased])
    why = f"; {counted(len(biased), 'pair')} in them stand by cosines under the rounding floor"
    return [list(pair) for pair in biased], f"{why} ({names}: {_short(worst)})"


def _shared(pair: Mapping[Hashable, Any]) -> float:
    return float(np.nan_to_num(pair["rounding_cosine"]))


def _short(pair: Mapping[Hashable, Any]) -> str:
    shared = pair["rounding_cosine"]
    if shared > 0:
        return (
            "the base's own rounding, the same in both, pulls unrelated ones towards 1, up to "
            f"{shared:.2g}"
        )
    known = "" if shared == 0 else ", or towards 1 if the base has a wider dtype"
    return f"rounded each by itself, alike ones are pulled towards 0{known}"
