"""Verify a merge: every tensor is judged by itself, streamed, on any executor."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from operator import attrgetter
from typing import Any

from ftdiff.adapters import open_tuned
from ftdiff.analyses.verification.claims import Claim, claims
from ftdiff.analyses.verification.merged_tensor import Row
from ftdiff.analyses.verification.result import Verification
from ftdiff.analyses.verification.verdicts import judge, unreadable
from ftdiff.comparison import executors
from ftdiff.comparison.executors import Work
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of, version
from ftdiff.errors import BadCall
from ftdiff.formats import Broken, Quantised, open_checkpoint


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
        A path, or what `open_tuned` takes.
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
        within rounding if no entry is further than 2 units in the last place (of the coarsest dtype
        on the way, at the largest of |W|, |ΔW| and |merged|; or of BF16 at |ΔW|, for products made
        in 16 bits) and the scale is 1 within its error.

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        What was given cannot be read or compared.
    BadCall
        A checkpoint in the adapter's place, or an adapter in the merged model's; or `quantised`,
        and no tensor of the base is.
    """
    opened = open_checkpoint(base)
    if quantised and not any(isinstance(t, Quantised | Broken) for t in opened.tensors.values()):
        raise BadCall(f"{opened.source}: nothing in it is stored quantised: verify it as it is")
    fine = open_tuned(adapter, opened)
    if fine.kind == "full":
        raise BadCall(f"{fine.source}: a full checkpoint, not an adapter: use compare")
    result = open_tuned(merged, opened)
    if result.kind != "full":
        raise BadCall(f"{result.source}: a {result.kind} adapter, not a merged model")
    whole = open_checkpoint(merged)
    rows = _judge(claims(opened, fine, whole, quantised=quantised), executor, progress)
    about = {
        "base": opened.source,
        "adapter": fine.source,
        "merged": whole.source,
        "kind": fine.kind,
        "unmatched": dict(fine.unmatched),
        "notes": [*opened.notes, *fine.notes, *whole.notes],
        "version": version(),
        **made_of(base=[opened], adapter=[fine], merged=[whole]),
    }
    return Verification.of_rows(rows, about)


def _judge(
    made: Sequence[Claim], executor: Executor | None, progress: Progress | None
) -> list[Row]:
    """Judge the largest first, so that none is waited for at the end."""
    size = attrgetter("size")
    work: Work[Claim, Row] = Work(
        "reading", judge, name=attrgetter("address.name"), cost=size, priority=size
    )
    rows = executors.run(work, [[claim] for claim in made], executor, progress)
    return [
        unreadable(claim, row) if isinstance(row, str) else row
        for claim, row in zip(made, rows, strict=True)
    ]
