"""Verify a merge: every tensor is judged by itself, streamed, on any executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from operator import attrgetter
from typing import Any, TypeVar

from ftdiff.adapters import open_adapter, open_model
from ftdiff.adapters.loading.unfound import unfound
from ftdiff.analyses.verification.claims import Claim, claims
from ftdiff.analyses.verification.pooled import common_way, settle
from ftdiff.analyses.verification.result import Verification
from ftdiff.analyses.verification.stored import RUN
from ftdiff.analyses.verification.strengths import (
    Normal,
    absent,
    asked,
    asked_of,
    fitted,
    mixed,
    names,
)
from ftdiff.analyses.verification.strengths import about as strength_rows
from ftdiff.analyses.verification.verdicts import judge, unreadable
from ftdiff.comparison import executors, windows
from ftdiff.comparison.alignment import together
from ftdiff.comparison.executors import Work
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of, version
from ftdiff.deltas.recipes import Recipe, Replaced, Tuned
from ftdiff.deltas.recipes.held import stored
from ftdiff.errors import BadCall
from ftdiff.formats import Broken, Checkpoint, Quantised
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import numel

Result = TypeVar("Result")


def verify(
    base: Any,
    adapter: Any,
    merged: Any,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    quantised: bool = False,
) -> Verification:
    """Say whether `merged` is `base` with `adapter` merged into it, and how exactly.

    Parameters
    ----------
    base, merged
        Paths, or what `open_checkpoint` takes.
    adapter
        A path, or what `open_tuned` takes; a (path, strength) pair; or a sequence of either, for a
        merge of several. Of several, strengths that are not given are found by least squares.
    executor
        Where to read; threads of this process by default, one for each core.
    progress
        Called with the bytes read so far and in all.
    quantised
        The base is stored quantised, and the merge was made onto its dequantised values (QLoRA).

    Returns
    -------
    Verification
        A tensor is equal if one of the orders of rounding that merging tools have gives its bits;
        within rounding if its other entries are what another order of the product's sum gives, or
        what a product made in 16 bits may give, and what is left neither points along ΔW, in this
        tensor or in all of them together, nor is larger than what such products leave. A change
        that cannot be replayed to the bit (DoRA, LoHa, …) is within rounding up to 2 units in the
        last place (of the coarsest dtype on the way, at the largest of |W|, |ΔW| and |merged|).

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        What was given cannot be read or compared.
    BadCall
        A checkpoint in the adapter's place, or an adapter in the merged model's; or `quantised`,
        and no tensor of the base is.
    """
    opened = open_model(base)
    if quantised and not any(isinstance(t, Quantised | Broken) for t in opened.tensors.values()):
        raise BadCall(f"{opened.source}: nothing in it is stored quantised: verify it as it is")
    pairs = asked(adapter)
    adapters = [open_adapter(source, opened) for source, _ in pairs]
    whole = open_model(merged, opened)
    opened, adapters, whole = _together(opened, adapters, whole)

    def run(work: Callable[[Claim], Normal]) -> list[Normal]:
        ones = mixed(opened, adapters, (1.0,) * len(adapters))
        sums = _run("strengths", work, claims(opened, ones, whole), executor, progress)
        return [one for one in sums if not isinstance(one, str)]

    given = [1.0 if len(pairs) == 1 and s is None else s for _, s in pairs]
    strengths = fitted(given, run)
    fine = mixed(opened, adapters, strengths.values)
    made = claims(opened, fine, whole, quantised=quantised)
    way = common_way(made)
    told = [strength for _, strength in pairs]
    made = tuple(replace(claim, way=way, given=asked_of(claim, told)) for claim in made)
    judged = _run("reading", judge, made, executor, progress)
    rows, left = settle(
        [
            unreadable(claim, row) if isinstance(row, str) else row
            for claim, row in zip(made, judged, strict=True)
        ]
    )
    about: dict[str, Any] = {
        "base": opened.source,
        "adapter": fine.source,
        "merged": whole.source,
        "kind": fine.kind,
        "unmatched": dict(fine.unmatched),
        "notes": [*opened.notes, *fine.notes, *whole.notes],
        "version": version(),
        **made_of(base=[opened], adapter=[fine], merged=[whole]),
    }
    if left:
        about["left"] = left
    if hidden := _hidden(opened, whole):
        about["hidden"] = hidden
    if strengths.values != (1.0,):
        about["strengths"] = strength_rows(strengths, adapters)
        about["said"] = strengths.said(names(adapters))
        about["absent"] = absent(strengths, names(adapters))
    return Verification.of_rows(rows, about)


def _hidden(base: Checkpoint, merged: Checkpoint) -> list[str]:
    """Return the names of the merged model that transformers does not find."""
    shapes = [{n: t.shape for n, t in side.tensors.items()} for side in (base, merged)]
    pairs = pair_names(*shapes)
    renamed = {name: other for name, other in pairs.items() if name != other}
    return unfound(renamed, base.config, merged.config, pairs.values())


def _together(
    base: Checkpoint, adapters: Sequence[Tuned], merged: Checkpoint
) -> tuple[Checkpoint, list[Tuned], Checkpoint]:
    """Return all with the same tensors, where one of them stores as one what another splits."""
    recipes: dict[str, Recipe] = {name: Replaced(t) for name, t in merged.tensors.items()}
    whole = Tuned(recipes, merged.source, "full", merged.config, notes=merged.notes)
    base, found = together(base, [*adapters, whole])
    whole = found.pop()
    tensors = {name: r.tensor for name, r in whole.recipes.items() if isinstance(r, Replaced)}
    return base, found, replace(merged, tensors=tensors, notes=whole.notes)


def _run(
    phase: str,
    work: Callable[[Claim], Result],
    made: Sequence[Claim],
    executor: Executor | None,
    progress: Progress | None,
) -> list[Result | str]:
    """Take the largest first, so that none is waited for at the end."""
    size = attrgetter("size")
    name = attrgetter("address.name")
    task = Work(phase, work, name, cost=size, priority=size, memory=_held)
    return executors.run(task, [[claim] for claim in made], executor, progress)


def _held(claim: Claim) -> int:
    """Return what checking a claim holds: a dozen arrays of a run, factors, and windows."""
    factors = sum(numel(one.shape) for one in stored(claim.recipe)) if claim.recipe else 0
    return 24 * RUN + 16 * factors + windows.window(claim.base, claim.recipe, claim.merged)
