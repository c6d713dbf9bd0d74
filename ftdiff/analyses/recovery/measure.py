"""Recover an adapter: each tensor is looked at by itself, then all agree, then factors are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from ftdiff.adapters import open_model
from ftdiff.adapters.peft.orientation import in_by_out
from ftdiff.analyses.recovery import folder, matrix, sentences
from ftdiff.analyses.recovery.agreement import Agreement, agreed
from ftdiff.analyses.recovery.copies import copied
from ftdiff.analyses.recovery.matrix import APART, FULL, LOW, Pair, Part, Seen, Wanted
from ftdiff.analyses.recovery.result import Recovery
from ftdiff.analyses.verification import verify
from ftdiff.comparison import executors
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import Plan, pair
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of, version
from ftdiff.comparison.storage import written_folder
from ftdiff.deltas.recipes import Replaced, Tuned
from ftdiff.errors import attempt
from ftdiff.formats import Checkpoint
from ftdiff.tensors import LazyTensor, is_quantised, matrix_shape, precision

P = TypeVar("P")
R = TypeVar("R")

#: Matrices on which a scale of each row is tried first, and then, before it is tried on all.
_FIRST, _TRIED = 3, 8
#: The share of them that it must explain.
_SHARE = 0.8


def recover(
    base: Any,
    merged: Any,
    output: str | Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Recovery:
    """Recover the LoRA or DoRA that was merged into a model.

    Parameters
    ----------
    base, merged
        Paths to full checkpoints, or what `open_checkpoint` takes.
    output
        A new folder for the adapter, as PEFT loads it; nothing is written if None, or where the
        change is not of low rank.
    executor
        Where to read; threads of this process by default, one for each core.
    progress
        As in `ftdiff.compare`; phases "spectra", "scales", "factors", and those of `verify`.

    Returns
    -------
    Recovery
        What was found, and a row for each tensor. What was written was verified by `verify`.

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        What was given cannot be read or compared.
    BadCall
        An adapter in the place of a model, or the folder is there already.

    Notes
    -----
    A whole matrix is held in memory, several times over, for each task that runs; as many run at a
    time as there is memory for (`ftdiff.tensors.bounds`).
    """
    where = None if output is None else Path(output)
    if where is not None:
        folder.free(where)
    opened = open_model(base)
    whole = open_model(merged, opened)
    plan = pair(opened, Tuned({n: Replaced(t) for n, t in whole.tensors.items()}, whole.source,
                              "full", whole.config, notes=whole.notes))  # fmt: skip
    pairs = _pairs(plan, opened)

    def run(phase: str, work: Callable[[P], R], tasks: Sequence[P]) -> list[R | str]:
        return _run(phase, work, tasks, executor, progress)

    seen = [
        Seen(one, APART, said=found) if isinstance(found, str) else found
        for one, found in zip(pairs, run("spectra", matrix.look, pairs), strict=True)
    ]
    found = agreed(seen)
    if found.verdict == "not_low_rank":
        found = _scaled(found, seen, run) or found
    wanted = [
        Wanted(one.pair, found.ranks[one.pair.name], found.verdict == "dora")
        for one in seen
        if one.pair.name in found.ranks
    ]
    made = run("factors", matrix.part, wanted)
    parts = [one for one in made if isinstance(one, Part)]
    lost = {w.pair.name: one for w, one in zip(wanted, made, strict=True) if isinstance(one, str)}
    about: dict[str, Any] = {
        "base": opened.source,
        "merged": whole.source,
        "rank": found.rank,
        "beside": [*plan.added, *plan.removed],
        "reshaped": [*plan.reshaped],
        "unreadable": lost,
        "notes": [*opened.notes, *whole.notes, *plan.notes],
        "version": version(),
        **made_of(base=[opened], merged=[whole]),
    }
    copies = {one.name: one for one in copied(seen, parts, opened)} if parts else {}
    about["whole"] = [*copies]
    if where is None or not parts:
        return Recovery.of(found, seen, parts, about)
    with written_folder(where) as beside:
        read = {name: one.merged.read() for name, one in copies.items()}
        folder.write(beside, parts, opened.tensors, opened.source, read)
        coarse = any(is_quantised(part.pair.base) for part in parts)
        checked = verify(base, str(beside), merged, executor, progress, quantised=coarse)
        about |= {"output": str(where), "verified": checked.verdict, "accepted": checked.ok}
        about["verification"] = [one.replace(str(beside), str(where)) for one in checked.sentences]
        result = Recovery.of(found, seen, parts, about)
        folder.readme(beside, sentences.of_folder(result.sentences, about))
    return result


def _pairs(plan: Plan, base: Checkpoint) -> list[Pair]:
    """Return the tensors of both sides; what is no pair of matrices is told why."""
    found = []
    for change in plan.changes:
        recipe = change.recipe
        if change.base is None or change.address.name in plan.twice:
            continue
        if not isinstance(recipe, Replaced):
            merged, said = change.base, "it is not stored as one tensor on both sides"
        else:
            merged, said = recipe.tensor, _apart(change.base, recipe.tensor)
        name = change.address.name.removesuffix(".weight")
        if not said and name == change.address.name:
            said = "it is no module's weight"
        found.append(Pair(change.address, change.base, merged, in_by_out(base.config, name), said))
    return found


def _apart(base: LazyTensor, merged: LazyTensor) -> str:
    if len(base.shape) == 3:
        return "it is several matrices in one, or a kernel of one dimension"
    if len(base.shape) not in (2, 4) or min(matrix_shape(base.shape)) < 2:
        return "it is no matrix"
    if base.shape != merged.shape:
        return "its shapes differ"
    if is_quantised(merged):
        return "it is stored quantised"
    known = {"BF16", "F16", "F32", "F64"}
    if not {base.dtype, merged.dtype} <= known or precision(merged.dtype) is None:
        return f"it is stored as {merged.dtype}"
    return ""


def _scaled(
    found: Agreement, seen: Sequence[Seen], run: Callable[..., list[Any]]
) -> Agreement | None:
    """Return what the matrices agree on where each row of the base may be scaled too."""
    moved = [one for one in seen if one.kind in (LOW, FULL)]
    moved.sort(key=lambda one: one.pair.size)
    step = max(1, len(moved) // _TRIED)
    sample = [one.pair for one in moved[::step]][:_TRIED]
    tried: list[int] = []
    for some in (sample[:_FIRST], sample[_FIRST:]):
        tried += [rank for rank in run("scales", matrix.scaled_rank, some) if isinstance(rank, int)]
        if not tried:
            return None
    if len(tried) < _SHARE * len(sample):
        return None
    rank = max({*tried}, key=tried.count)
    held = run("scales", matrix.scaled_at, [Wanted(one.pair, rank, True) for one in moved])
    if not rank:
        return replace(found, scaled=True)
    ranks = {one.pair.name: rank for one, fits in zip(moved, held, strict=True) if fits is True}
    if len(ranks) < _SHARE * len(moved):
        return None
    return replace(found, verdict="dora", rank=rank, ranks=ranks, low=len(ranks))


def _run(
    phase: str,
    work: Callable[[P], R],
    tasks: Sequence[P],
    executor: Executor | None,
    progress: Progress | None,
) -> list[R | str]:
    if not tasks:
        return []
    size, name = attrgetter("size"), attrgetter("name")
    memory = attrgetter("memory")
    task = Work(phase, _Attempted(work), name, size, priority=size, memory=memory)
    return executors.run(task, [[one] for one in tasks], executor, progress)


class _Attempted:
    """Work on one tensor, or why it cannot be done; it travels to other processes."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, task: Any) -> Any:
        """Do it."""
        return attempt(task.name, lambda: self.work(task))
