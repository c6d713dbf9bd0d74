"""One tensor's row: which claim holds, and by what numbers."""

from __future__ import annotations

from ftdiff.analyses.verification.claims import Claim
from ftdiff.analyses.verification.dequantised import onto_dequantised, stored_dequantised
from ftdiff.analyses.verification.merged_tensor import Row, added, row, some_of
from ftdiff.analyses.verification.replay import FLOATS
from ftdiff.analyses.verification.stored import compare_stored
from ftdiff.deltas.recipes import Beside, NewBias, Recipe, Replaced, Unreadable
from ftdiff.errors import attempt
from ftdiff.formats import Broken, Quantised
from ftdiff.formats.quantised import grids
from ftdiff.tensors import LazyTensor, numel, stored_as

#: What is wrong with a target that was merged onto other values of the base.
_OPEN = ("unexplained", "scaled", "partial")


def judge(claim: Claim) -> Row:
    """Return the row of one claim; what cannot be read is a row of status "unreadable"."""
    found = attempt(claim.address.name, lambda: _judged(claim))
    return unreadable(claim, found) if isinstance(found, str) else {**_facts(claim), **found}


def unreadable(claim: Claim, why: str) -> Row:
    """Return the row of a claim that could not be judged."""
    return {**_facts(claim), **row("unreadable", why)}


def _facts(claim: Claim) -> Row:
    recipe = claim.recipe
    sides = [side for side in (claim.merged, claim.base, recipe) if side is not None]
    return {
        **claim.address.columns(),
        "form": recipe.form if recipe is not None else None,
        "shape": sides[0].shape,
        "numel": numel(sides[0].shape),
        "base_dtype": stored_as(claim.base) if claim.base is not None else None,
        "merged_dtype": stored_as(claim.merged) if claim.merged is not None else None,
    }


def _judged(claim: Claim) -> Row:
    base, recipe, merged = claim.base, claim.recipe, claim.merged
    if isinstance(recipe, NewBias):  # unlike a prompt it belongs into the merge, and is lost there
        return row("unmatched", recipe.why)
    if isinstance(recipe, Beside):
        return row("beside", f"nothing to merge: {recipe.why}")
    if isinstance(recipe, Unreadable):
        return row("unreadable", recipe.reason)
    if recipe is not None and base is None and not isinstance(recipe, Replaced):
        return row("unmatched", "the adapter changes it, and the base does not have it")
    saved = recipe.tensor if isinstance(recipe, Replaced) else None
    for tensor in (base, merged, saved):
        if isinstance(tensor, Broken):
            return row("unreadable", tensor.reason)
    if merged is None:
        return row("missing", "not in the merged file")
    if recipe is None and base is None:
        return row("added", "neither base nor adapter has it")
    if recipe is None or isinstance(recipe, Replaced):
        source = base if recipe is None else recipe.tensor
        assert source is not None
        return _stored(source, base, merged, replaced=recipe is not None)
    assert base is not None
    if not base.shape == recipe.shape == merged.shape:
        return row("reshaped", f"the base has {_times(base)}, the merged file {_times(merged)}")
    for side, tensor in (("base", base), ("merged file", merged)):
        if tensor.dtype not in FLOATS:
            said = f"the {side} stores it as {tensor.dtype}, and there is no dequantiser for it"
            return row("unreadable", said)
    if isinstance(merged, Quantised):
        said = "a merge that was quantised again is not replayed"
        return row("unreadable", f"the merged file stores it as {merged.scheme}: {said}")
    if not isinstance(base, Quantised):
        own = added(claim, base, recipe, merged)
        return (_gridded(base, merged, recipe) or own) if own["status"] in _OPEN else own
    if not claim.quantised:
        said = "where the merge was made onto the dequantised base, say so: --quantised"
        return row("unreadable", f"the base stores it as {base.scheme}: {said}")
    return onto_dequantised(claim, base, recipe, merged)


def _stored(source: LazyTensor, base: LazyTensor | None, merged: LazyTensor, replaced: bool) -> Row:
    """Judge a tensor that should be in the file as it is elsewhere: the base's or a saved one."""
    if source.shape != merged.shape:
        return row("reshaped", f"{_times(source)} is expected, {_times(merged)} found")
    comparable = base if base is not None and base.shape == merged.shape else None
    found = compare_stored(source, comparable, merged)
    numbers: Row = {"unequal": found.counts["unequal"], "ulps": found.tops["ulps"]}
    numbers["moved"] = found.counts.get("moved")
    if not found.counts["unequal"]:
        said = "equal to the saved tensor" if replaced else "equal to the base, as it should be"
        return row("equal" if replaced else "untouched", f"{said}, bit for bit", **numbers)
    if replaced and numbers["moved"] == 0:
        said = "the base's values, where the adapter saved others: modules_to_save was not merged"
        return row("replacement_missing", said, **numbers)
    if isinstance(source, Quantised):
        return stored_dequantised(source, merged, numbers)
    gridded = None if replaced else _gridded(source, merged, None)
    if gridded is not None:
        return gridded | numbers
    owner = "the saved tensor's" if replaced else "the base's, though no adapter targets it"
    status = "unexplained" if replaced else "changed"
    return row(status, f"{some_of(found.counts['unequal'], found.numel)} not {owner}", **numbers)


def _gridded(base: LazyTensor, merged: LazyTensor, recipe: Recipe | None) -> Row | None:
    """Say that the base's values were rounded to few bits first; None where they were not."""
    change = recipe.entries(base) if recipe is not None else None
    grid = grids.find(base, merged, change)
    if grid is None or not grids.fit(base, merged, grid, change).holds:
        return None
    what = "its values less ΔW are" if recipe is not None else "these are"
    return row("gridded", f"{what} the base's, rounded to {grid.said}", grid=grid.scheme)


def _times(tensor: LazyTensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a scalar"
