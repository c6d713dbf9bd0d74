"""One tensor's row: which claim holds, and by what numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ftdiff.errors import FtdiffError
from ftdiff.merging.claims import Claim
from ftdiff.merging.replay import FLOATS, Replay, replays, spacing
from ftdiff.merging.scales import (
    LIMIT,
    TWICE,
    Estimate,
    estimate,
    explained,
    search,
    within,
)
from ftdiff.merging.tally import compare_stored, count, weigh
from ftdiff.moments import Moments
from ftdiff.recipes import Beside, Recipe, Replaced, Unreadable
from ftdiff.tensors import LazyTensor, numel

#: Above this standard error of the scale, nothing is said of it.
_VAGUE = 0.25
#: The share of entries that another order of sums may round to the other side.
_TIES = 1e-3

Row = dict[str, Any]


def judge(claim: Claim) -> Row:
    """Return the row of one claim; what cannot be read is a row of status "unreadable"."""
    try:
        found = _judged(claim)
    except FtdiffError as error:
        found = _row("unreadable", str(error))
    return {**_facts(claim), **found}


def _facts(claim: Claim) -> Row:
    address, recipe = claim.address, claim.recipe
    sides = [side for side in (claim.merged, claim.base, recipe) if side is not None]
    known = ("stack", "layer", "block", "role", "component", "module", "param", "expert")
    return {
        "tensor": address.name,
        **{word: getattr(address, word) for word in known},
        "form": recipe.form if recipe is not None else None,
        "shape": sides[0].shape,
        "numel": numel(sides[0].shape),
        "base_dtype": claim.base.dtype if claim.base is not None else None,
        "merged_dtype": claim.merged.dtype if claim.merged is not None else None,
    }


def _row(status: str, said: str, **numbers: Any) -> Row:
    return {"status": status, "said": said, **numbers}


def _judged(claim: Claim) -> Row:
    base, recipe, merged = claim.base, claim.recipe, claim.merged
    if isinstance(recipe, Beside):
        return _row("beside", f"nothing to merge: {recipe.why}")
    if isinstance(recipe, Unreadable):
        return _row("unreadable", recipe.reason)
    if recipe is not None and base is None and not isinstance(recipe, Replaced):
        return _row("unmatched", "the adapter changes it, and the base does not have it")
    if merged is None:
        return _row("missing", "not in the merged file")
    if recipe is None and base is None:
        return _row("added", "neither base nor adapter has it")
    if recipe is None or isinstance(recipe, Replaced):
        source = base if recipe is None else recipe.tensor
        assert source is not None
        return _stored(source, base, merged, replaced=recipe is not None)
    assert base is not None
    if not base.shape == recipe.shape == merged.shape:
        return _row("reshaped", f"the base has {_times(base)}, the merged file {_times(merged)}")
    for side, tensor in (("base", base), ("merged file", merged)):
        if tensor.dtype not in FLOATS:
            said = f"the {side} stores it as {tensor.dtype}, and there is no dequantiser for it"
            return _row("unreadable", said)
    return _added(claim, base, recipe, merged)


def _stored(source: LazyTensor, base: LazyTensor | None, merged: LazyTensor, replaced: bool) -> Row:
    """Judge a tensor that should be in the file as it is elsewhere: the base's or a saved one."""
    if source.shape != merged.shape:
        return _row("reshaped", f"{_times(source)} is expected, {_times(merged)} found")
    comparable = base if base is not None and base.shape == merged.shape else None
    found = compare_stored(source, comparable, merged)
    numbers: Row = {"unequal": found.counts["unequal"], "ulps": found.tops["ulps"]}
    numbers["moved"] = found.counts.get("moved")
    if not found.counts["unequal"]:
        said = "equal to the saved tensor" if replaced else "equal to the base, as it should be"
        return _row("equal" if replaced else "untouched", f"{said}, bit for bit", **numbers)
    if replaced and numbers["moved"] == 0:
        said = "the base's values, where the adapter saved others: modules_to_save was not merged"
        return _row("replacement_missing", said, **numbers)
    share = found.counts["unequal"] / found.numel
    owner = "the saved tensor's" if replaced else "the base's, though no adapter targets it"
    status = "unexplained" if replaced else "changed"
    return _row(status, f"{share:.3g} of its entries are not {owner}", **numbers)


def _added(claim: Claim, base: LazyTensor, recipe: Recipe, merged: LazyTensor) -> Row:
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
            return _row("inconclusive", said, **numbers)
        return _row("equal", f"bit for bit: {way.said}", **numbers)
    if counts["broken"]:
        said = f"{counts['broken']:,} entries are finite on one side alone"
        return _row("unexplained", said, **numbers)
    if not counts["moved"]:
        return _row("skipped", "the base's values: the merge skipped it", **numbers, scale=0.0)
    weighed = weigh(base, recipe, merged, way)
    numbers |= _measured(weighed)
    found = estimate(weighed)
    if found is not None:
        numbers |= {"scale": found.factor, "scale_error": found.error}
        if within(weighed) and found.allows(1.0):
            return _rounded(way, weighed, found, numbers)
    row = _otherwise(claim, base, ways, way, weighed, numbers)
    if row["status"] == "unexplained" and counts["neither"] <= _TIES * counts["due"]:
        share = 1 - counts["moved"] / counts["due"]
        return row | _row("partial", f"merged but for {share:.3g} of its entries, the base's")
    return row


def _best(ways: tuple[Replay, ...], counts: Mapping[str, int], size: int) -> int:
    """Return the replay with the fewest entries that differ.

    One that rounds more coarsely than the file stores has to give its bits: to be near it is easy.
    """
    best = min(range(len(ways)), key=lambda i: counts[f"unequal_{i}"])
    coarse = spacing(ways[best].working) > spacing(ways[best].stored)
    return 0 if coarse and counts[f"unequal_{best}"] > _TIES * size else best


def _rounded(way: Replay, weighed: Moments, found: Estimate, numbers: Row) -> Row:
    numbers["replay"] = way.said
    if found.error > _VAGUE:
        said = f"too little of ΔW survives {way.stored} for its scale to be told"
        return _row("inconclusive", said, **numbers)
    if weighed.tops["ulps"] <= LIMIT:
        said = f"at most {weighed.tops['ulps']:.2g} ulps of {way.grain} from: {way.said}"
    else:
        said = f"at most {weighed.tops['coarse']:.2g} ulps of a ΔW made in BF16 from: {way.said}"
    return _row("rounding", said, **numbers)


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
    if found is not None and found.error < _VAGUE * abs(found.factor):
        numbers |= {"scale": found.factor, "scale_error": found.error}
        names = explained(base, claim, ways, found)
        if names:
            status = "twice" if names == (TWICE,) else "scaled"
            said = f"{found.factor:.4g} · ΔW: looks like {' or '.join(names)}"
            return _row(status, said, **numbers, readings=names)
        if within(weigh(base, claim.recipe, claim.merged, way, found.factor)):
            return _row("scaled", f"{found.factor:.4g} · ΔW", **numbers, readings=())
    cosine = numbers.get("cosine", math.nan)
    said = f"another change: its cosine with the adapter's ΔW is {cosine:.3g}"
    return _row("unexplained", said, **numbers)


def _measured(weighed: Moments) -> Row:
    """Return the numbers of a change that is not equal bit for bit."""
    sums = {name: expansion[0] for name, expansion in weighed.sums.items()}
    norms = math.sqrt(sums["done_sq"] * sums["change_sq"])
    row: Row = {"ulps": weighed.tops["ulps"]}
    if norms:
        row["cosine"] = sums["done_change"] / norms
    if sums["change_sq"]:
        row["residual"] = math.sqrt(sums["off_sq"] / sums["change_sq"])
    return row


def _times(tensor: LazyTensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"
