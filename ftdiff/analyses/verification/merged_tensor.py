"""One tensor to which ΔW should have been added: which order of roundings, scale or mistake."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.counts import count, weigh
from ftdiff.analyses.verification.replay import Replay, replays, spacing
from ftdiff.analyses.verification.scales import (
    LIMIT,
    TWICE,
    Estimate,
    estimate,
    explained,
    search,
    within,
)
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Recipe
from ftdiff.tensors import LazyTensor, numel

#: Above this standard error of the scale, nothing is said of it.
VAGUE = 0.25
#: The share of entries that another order of sums may round to the other side.
_TIES = 1e-3

Row = dict[str, Any]


def row(status: str, said: str, **numbers: Any) -> Row:
    """Return what was found of one tensor."""
    return {"status": status, "said": said, **numbers}


def added(claim: Claim, base: LazyTensor, recipe: Recipe, merged: LazyTensor) -> Row:
    """Judge a tensor to which ΔW should have been added."""
    ways = replays(base.dtype, merged.dtype)
    counts = count(base, recipe, merged, ways[:1]).counts
    if counts["unequal_0"]:
        counts = count(base, recipe, merged, ways).counts
    else:
        ways = ways[:1]
    best = _best(ways, counts, numel(merged.shape))
    way, unequal = ways[best], counts[f"unequal_{best}"]
    numbers: Row = {"unequal": unequal, "moved": counts["moved"], "due": counts["due"]}
    if not unequal:
        numbers |= {"replay": way.said, "ulps": 0.0}
        if not counts["due"]:
            said = f"ΔW is below the rounding of {merged.dtype}: merged and base are the same bits"
            return row("inconclusive", said, **numbers)
        return row("equal", f"bit for bit: {way.said}", **numbers)
    if counts["broken"]:
        said = f"{counts['broken']:,} entries are finite on one side alone"
        return row("unexplained", said, **numbers)
    if not counts["moved"]:
        return row("skipped", "the base's values: the merge skipped it", **numbers, scale=0.0)
    weighed = weigh(base, recipe, merged, way)
    numbers |= _measured(weighed)
    found = estimate(weighed)
    if found is not None:
        numbers |= {"scale": found.factor, "scale_error": found.error}
        if within(weighed) and found.allows(1.0):
            return _rounded(way, weighed, found, numbers)
    other = _otherwise(claim, base, ways, way, weighed, numbers)
    if other["status"] == "unexplained" and counts["neither"] <= _TIES * counts["due"]:
        share = 1 - counts["moved"] / counts["due"]
        return other | row("partial", f"merged but for {share:.3g} of its entries, the base's")
    return other


def _best(ways: tuple[Replay, ...], counts: Mapping[str, int], size: int) -> int:
    """Return the replay with the fewest entries that differ.

    One that rounds more coarsely than the file stores has to give its bits: to be near it is easy.
    """
    best = min(range(len(ways)), key=lambda i: counts[f"unequal_{i}"])
    coarse = spacing(ways[best].working) > spacing(ways[best].stored)
    return 0 if coarse and counts[f"unequal_{best}"] > _TIES * size else best


def _rounded(way: Replay, weighed: Moments, found: Estimate, numbers: Row) -> Row:
    numbers["replay"] = way.said
    if found.error > VAGUE:
        said = f"too little of ΔW survives {way.stored} for its scale to be told"
        return row("inconclusive", said, **numbers)
    if weighed.tops["ulps"] <= LIMIT:
        said = f"at most {weighed.tops['ulps']:.2g} ulps of {way.grain} from: {way.said}"
    else:
        said = f"at most {weighed.tops['coarse']:.2g} ulps of a ΔW made in BF16 from: {way.said}"
    return row("rounding", said, **numbers)


def _otherwise(
    claim: Claim,
    base: LazyTensor,
    ways: tuple[Replay, ...],
    way: Replay,
    weighed: Moments,
    numbers: Row,
) -> Row:
    """Look for the scale that the file was merged with."""
    assert claim.recipe is not None and claim.merged is not None
    found = search(base, claim, way, weighed)
    if found is not None and found.error < VAGUE * abs(found.factor):
        numbers |= {"scale": found.factor, "scale_error": found.error}
        names = explained(base, claim, ways, found)
        if names:
            status = "twice" if names == (TWICE,) else "scaled"
            said = f"{found.factor:.4g} · ΔW: looks like {' or '.join(names)}"
            return row(status, said, **numbers, readings=names)
        if within(weigh(base, claim.recipe, claim.merged, way, found.factor)):
            return row("scaled", f"{found.factor:.4g} · ΔW", **numbers, readings=())
    cosine = numbers.get("cosine", math.nan)
    said = f"another change: its cosine with the adapter's ΔW is {cosine:.3g}"
    return row("unexplained", said, **numbers)


def _measured(weighed: Moments) -> Row:
    """Return the numbers of a change that is not equal bit for bit."""
    sums = {name: expansion[0] for name, expansion in weighed.sums.items()}
    norms = math.sqrt(sums["done_sq"] * sums["change_sq"])
    found: Row = {"ulps": weighed.tops["ulps"]}
    if norms:
        found["cosine"] = sums["done_change"] / norms
    if sums["change_sq"]:
        found["residual"] = math.sqrt(sums["off_sq"] / sums["change_sq"])
    return found
