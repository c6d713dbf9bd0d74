"""Merges onto a base that is stored quantised: which dequantised values, or those from before."""

from __future__ import annotations

from ftdiff.analyses.verification.cells import Inside, inside
from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.counts import weigh
from ftdiff.analyses.verification.merged_tensor import VAGUE, Row, added, row, some_of
from ftdiff.analyses.verification.replay import Replay
from ftdiff.analyses.verification.scales import Estimate, estimate
from ftdiff.analyses.verification.stored import compare_stored
from ftdiff.deltas.recipes import Recipe
from ftdiff.formats import Quantised
from ftdiff.tensors import LazyTensor, numel

#: The dtypes that tools dequantise to, after the one that the file names.
_HELD = ("F32", "BF16", "F16")
#: This share of values that round to the base's codes shows where they come from: of unrelated
#: values of the same size, about a fifth do in four bits and fewer in eight.
_OWN = 0.95
#: Values that were quantised lie as far from their levels as their cells are wide, by this factor;
#: the dequantised ones with a small change of another kind lie nearer.
_SPREAD = (0.7, 1.4)
_SETTLED = ("equal", "skipped", "inconclusive", "dead", "twice", "scaled")
_NEAR = ("corrupted", "rounding")


def onto_dequantised(claim: Claim, base: Quantised, recipe: Recipe, merged: LazyTensor) -> Row:
    """Judge a tensor whose base is stored quantised.

    The merge is replayed onto the values as the file's own dtype holds them, then as others do. If
    none is the file's, M − ΔW is held against the cells of the base's codes: values that round to
    them, and fill them, are those that were quantised; in eight bits, they are within rounding too.
    """
    found: Row | None = None
    for dtype in dict.fromkeys((base.dtype, *_HELD)):
        onto = {"onto": f"{base.scheme} dequantised to {dtype}"}
        here = added(claim, base.held(dtype), recipe, merged) | onto
        if here["status"] in _SETTLED:
            return here
        if found is None or _near(here) > _near(found):
            found = here
    assert found is not None
    before = _before(base, recipe, merged)
    if before is None or (_near(found) and before["status"] != "unquantised"):
        return found
    return before


def stored_dequantised(base: Quantised, merged: LazyTensor, numbers: Row) -> Row:
    """Judge a tensor that no adapter targets, and that is not the base's in its own dtype."""
    for dtype in _HELD:
        if not compare_stored(base.held(dtype), None, merged).counts["unequal"]:
            said = f"the base's, dequantised to {dtype}, bit for bit"
            return row("untouched", said, **numbers, onto=f"{base.scheme} dequantised to {dtype}")
    cells = inside(base, None, merged)
    if _quantised_from(cells):
        return row("unquantised", _said("its values", cells), **numbers)
    some = some_of(numbers["unequal"], numel(base.shape))
    said = f"{some} not the base's, though no adapter targets it"
    return row("changed", said, **numbers)


def _before(base: Quantised, recipe: Recipe, merged: LazyTensor) -> Row | None:
    """Say what was merged onto the weights from before they were quantised; None if nothing was."""
    exact = base.held("F32")
    weighed = weigh(exact, recipe, merged, Replay(merged.dtype, "F32"))
    found = estimate(weighed)
    if found is None:
        return None
    factor = _likely(found)
    cells = inside(exact, recipe, merged, factor)
    if not _quantised_from(cells):
        return None
    numbers: Row = {"scale": found.factor, "scale_error": found.error}
    if found.error > VAGUE:
        said = f"too little of ΔW stands out of {base.scheme} for its scale to be told"
        return row("inconclusive", said, **numbers)
    if factor == 0:
        said = "the merge skipped it: " + _said("its values", cells)
        return row("skipped", said, **numbers)
    told = "merged" if factor == 1 else f"{factor:.4g} · ΔW"
    what = "its values less ΔW" if factor == 1 else f"its values less {factor:.4g} · ΔW"
    status = "unquantised" if factor == 1 else "scaled"
    return row(status, f"{told} onto other weights: {_said(what, cells)}", **numbers, readings=())


def _near(found: Row) -> int:
    """Return how good a row is that does not settle the matter."""
    return _NEAR.index(found["status"]) + 1 if found["status"] in _NEAR else 0


def _likely(found: Estimate) -> float:
    return next((factor for factor in (1.0, 0.0) if found.allows(factor)), found.factor)


def _quantised_from(cells: Inside) -> bool:
    return cells.share >= _OWN and _SPREAD[0] <= cells.spread <= _SPREAD[1]


def _said(what: str, cells: Inside) -> str:
    told = "are not the dequantised base's, yet"
    return f"{what} {told} {cells.share:.1%} of them round to its codes"
