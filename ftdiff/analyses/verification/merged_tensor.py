"""One tensor to which ΔW should have been added: which order of roundings, scale or mistake."""

from __future__ import annotations

import math
from typing import Any

from ftdiff.analyses.verification import products
from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.counts import apart, count, hold, sample, weigh
from ftdiff.analyses.verification.evidence import Evidence, others
from ftdiff.analyses.verification.replay import Replay, orders, spacing
from ftdiff.analyses.verification.scales import TWICE, estimate, explained, fits, search
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Recipe
from ftdiff.numbers import signed
from ftdiff.tensors import LazyTensor

#: Above this standard error of the scale, nothing is said of it.
VAGUE = 0.25
#: The share of entries that are an accident, and not how the merge was made.
_TIES = 1e-3
#: Another replay is the better one where it leaves less than this share of what the first does.
_BETTER = 0.9
#: Fewer entries than these are an accident however small the tensor.
_FEW = 3

Row = dict[str, Any]


def row(status: str, said: str, **numbers: Any) -> Row:
    """Return what was found of one tensor."""
    return {"status": status, "said": said, **numbers}


def some_of(count: int, numel: int) -> str:
    """Count entries among those of a tensor, with the verb.

    >>> some_of(1, 1024), some_of(1024, 1024)
    ('1 of 1,024 entries is', 'all 1,024 of its entries are')
    """
    if count == numel > 1:
        return f"all {numel:,} of its entries are"
    return f"{count:,} of {numel:,} entries {'is' if count == 1 else 'are'}"


def ways_of(base: LazyTensor, recipe: Recipe, merged: LazyTensor) -> tuple[Replay, ...]:
    """Return every replay of one tensor's merge."""
    return orders(
        base.dtype,
        merged.dtype,
        factors=products.factored(recipe),
        exact=products.exact_in(recipe),
        several=len(products.terms(recipe)) > 1,
    )


def added(claim: Claim, base: LazyTensor, recipe: Recipe, merged: LazyTensor) -> Row:
    """Judge a tensor to which ΔW should have been added."""
    ways = ways_of(base, recipe, merged)
    way = next((way for way in ways if way.way == claim.way), ways[0])
    held = hold(base, recipe, merged, way)
    if held.counts["unexplained"]:
        way, held = _better(base, recipe, merged, ways, way, held)
    counts = held.counts
    numbers: Row = {name: counts[name] for name in ("unequal", "unexplained", "moved", "due")}
    numbers["evidence"] = Evidence.of(held)
    if not counts["unequal"]:
        numbers |= {"replay": way.said, "ulps": 0.0}
        if not counts["due"]:
            if held.sums["change_sq"][0] == 0:
                return row("dead", "nothing to merge: ΔW is exactly zero", **numbers)
            said = f"ΔW is below the rounding of {merged.dtype}: merged and base are the same bits"
            return row("inconclusive", said, **numbers)
        return row("equal", f"bit for bit: {way.said}", **numbers)
    if counts["broken"]:
        if _is_accident(held):
            return _accident(way, held, numbers)
        said = f"{some_of(counts['broken'], held.numel)} finite on one side alone"
        return row("unexplained", said, **numbers)
    if not counts["moved"]:
        return row("skipped", "the base's values: the merge skipped it", **numbers, scale=0.0)
    return _unequal(claim, base, recipe, merged, way, held, numbers)


def best(ways: tuple[Replay, ...], counts: Moments, first: int = 0) -> int:
    """Return the replay with the fewest entries that differ, if it is clearly better.

    One that rounds more coarsely than the file stores has to give its bits: to be near it is easy.
    """
    unequal = [counts.counts[f"unequal_{i}"] for i in range(len(ways))]
    fine = [
        i
        for i, way in enumerate(ways)
        if spacing(way.working) <= spacing(way.stored) or unequal[i] <= _TIES * counts.numel
    ]
    found = min(fine or [first], key=lambda i: unequal[i])
    return found if unequal[found] < _BETTER * unequal[first] else first


def _better(
    base: LazyTensor,
    recipe: Recipe,
    merged: LazyTensor,
    ways: tuple[Replay, ...],
    way: Replay,
    held: Moments,
) -> tuple[Replay, Moments]:
    """Look for a replay that explains more, by a sample of the tensor."""
    found = best(
        ways, count(base, recipe, merged, ways, span=sample(recipe)), first=ways.index(way)
    )
    if ways[found] == way:
        return way, held
    other = hold(base, recipe, merged, ways[found])
    better = other.counts["unexplained"] < held.counts["unexplained"]
    return (ways[found], other) if better else (way, held)


def _unequal(
    claim: Claim,
    base: LazyTensor,
    recipe: Recipe,
    merged: LazyTensor,
    way: Replay,
    held: Moments,
    numbers: Row,
) -> Row:
    """Judge a tensor that is not the replay's bits, nor the base's."""
    counts, weighed = held.counts, weigh(base, recipe, merged, way)
    numbers |= _measured(weighed)
    found = estimate(weighed)
    if found is not None:
        numbers |= {"scale": found.factor, "scale_error": found.error}
    if _is_accident(held):
        return _accident(way, held, numbers)
    to_the_bit = products.known_to_the_bit(recipe)
    evidence = Evidence.of(held)
    if counts["unexplained"]:
        among = apart(base, recipe, merged, way, others(way, products.factored(recipe)))
        evidence = Evidence.of(held, among)
        numbers["evidence"] = evidence
    if evidence.rounding(to_the_bit) and (to_the_bit or found is None or found.allows(1.0)):
        numbers["replay"] = way.said
        if found is None or found.error > VAGUE:
            said = f"too little of ΔW survives {way.stored} for its scale to be told"
            return row("inconclusive", said, **numbers)
        return row("rounding", _close(way, held, weighed, to_the_bit), **numbers)
    return _otherwise(claim, base, way, weighed, evidence, numbers, held)


def _is_accident(held: Moments) -> bool:
    """Say whether only a few entries are not what the merge gives, and all the others are."""
    few, wrong = max(_FEW, _TIES * held.numel), held.counts["outside"]
    return held.counts["unexplained"] == wrong and 0 < wrong <= few


def _accident(way: Replay, held: Moments, numbers: Row) -> Row:
    """Say that single entries are wrong where all the others are right."""
    many = held.counts["outside"]
    verb = "entry is" if many == 1 else "entries are"
    broken = held.counts["broken"]
    which = f" ({broken:,} finite on one side alone)" if broken else ""
    said = f"{many:,} {verb} not what the merge gives{which}; the other {held.numel - many:,} are"
    return row("corrupted", said, **numbers, replay=way.said)


def _close(way: Replay, held: Moments, weighed: Moments, to_the_bit: bool) -> str:
    if not held.counts["unexplained"]:
        return f"but for the order of a sum in float32, {way.said}"
    if to_the_bit:
        some = some_of(held.counts["unexplained"], held.numel)
        return f"{some} by another rounding of ΔW in 16 bits than: {way.said}"
    return f"at most {weighed.tops['ulps']:.2g} ulps of {way.grain} from: {way.said}"


def _otherwise(
    claim: Claim,
    base: LazyTensor,
    way: Replay,
    weighed: Moments,
    evidence: Evidence,
    numbers: Row,
    held: Moments,
) -> Row:
    """Look for the scale that the file was merged with."""
    assert claim.recipe is not None and claim.merged is not None
    found = search(base, claim, way, weighed)
    if found is not None and found.error < VAGUE * abs(found.factor):
        numbers |= {"scale": found.factor, "scale_error": found.error}
        ways = ways_of(base, claim.recipe, claim.merged)
        names = explained(base, claim, (way, *ways), found, evidence)
        if names:
            status = "twice" if names == (TWICE,) else "scaled"
            said = f"{found.factor:.4g} · ΔW: looks like {' or '.join(names)}"
            return row(status, said, **numbers, readings=names, given=claim.given)
        if not found.allows(1.0, share=0.0):
            scaled = hold(base, claim.recipe, claim.merged, way, found.factor)
            if fits(claim.recipe, scaled, evidence, found.factor):
                said = f"{found.factor:.4g} · ΔW{_against(claim, found.factor)}"
                return row("scaled", said, **numbers, readings=(), given=claim.given)
    if held.counts["neither"] <= _TIES * held.counts["due"]:
        due = held.counts["due"]
        left = f"{due - held.counts['moved']:,} of the {due:,} entries that ΔW moves"
        return row("partial", f"merged but for {left}: the base's", **numbers)
    if not weighed.sums["change_sq"][0]:
        some = some_of(held.counts["moved"], held.numel)
        said = f"another change: the adapter's ΔW is exactly zero, and {some} not the base's"
        return row("unexplained", said, **numbers, zero=True)
    cosine = numbers.get("cosine", math.nan)
    said = f"another change: its cosine with the adapter's ΔW is {signed(cosine, '.6g')}"
    return row("unexplained", said, **numbers)


def _against(claim: Claim, factor: float) -> str:
    """Say which strength was found, against the one that was given."""
    if claim.given is None:
        return ""
    return f": at {factor * claim.given:.4g}, not at the strength given, {claim.given:g}"


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
