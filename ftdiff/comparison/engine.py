"""Measure every change of a plan, a span of tiles at a time, on any `concurrent.futures.Executor`.

Spans go to workers, sums come back, weights never travel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ftdiff.adapters import open_base, open_tuned
from ftdiff.comparison import (
    afar,
    applied_twice,
    collector,
    executors,
    few_bits,
    provenance,
    rescaled,
    selected,
    spans,
)
from ftdiff.comparison import per_tensor as tensorwise
from ftdiff.comparison.executors import Workplace
from ftdiff.comparison.frame import among
from ftdiff.comparison.guesses import refuse
from ftdiff.comparison.kinship import foretold
from ftdiff.comparison.plan import Change, Plan, pair
from ftdiff.comparison.progress import Progress, Say
from ftdiff.comparison.result import Diff
from ftdiff.comparison.rows import row_of, rows
from ftdiff.comparison.selection import Selection, selection_of
from ftdiff.comparison.statuses import MOVED
from ftdiff.comparison.structure import looks
from ftdiff.comparison.structure.survey import surveyed
from ftdiff.deltas.moments import Moments
from ftdiff.deltas.recipes import Tuned, as_delta
from ftdiff.formats import Checkpoint
from ftdiff.formats.quantised.grids import Grid
from ftdiff.metrics import Metric, measurable, resolve
from ftdiff.metrics.linalg import devices
from ftdiff.tensors import bounds


def compare(
    base: Any | None,
    tuned: Any,
    metrics: str | Sequence[str] = (),
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    say: Say | None = None,
    tuned_is_delta: bool = False,
    device: str | None = None,
    hash: bool = False,
    strict: bool = False,
    selection: Selection | Mapping[str, Any] | None = None,
) -> Diff:
    """Measure what changed between a base and a fine-tune.

    Parameters
    ----------
    base
        A path, or what `open_checkpoint` takes; None where there is none: an adapter then gives
        absolute norms.
    tuned
        A path to a checkpoint or an adapter, or what `open_tuned` takes.
    metrics
        Names of the metrics, or of groups of them, to keep as columns; by default all that come
        from sums. What needs more than sums is measured only when it is named here.
    executor
        Where to measure, any; threads of this process by default, one for each core. What was
        measured on a worker that died is tried again, tensor by tensor; what is lost again is a
        row of status "unreadable".
    progress
        Called with the bytes measured so far and in all; from the start again for each phase:
        "sums", then "spectra", "geometry", "structure" or "entries" where metrics need more. If it
        has a method `phase(name)`, that is called as a phase begins, and what it returns instead.
        True shows bars, in notebooks too: tqdm's, or rich's where tqdm is not installed.
    say
        Called with a sentence before long work begins: how long it will take, and what a few rows
        of a whole checkpoint say of its base.
    tuned_is_delta
        The tuned checkpoint holds differences to the base, not weights.
    device
        A device of torch's ("cpu", "cuda", "cuda:1") for exact spectra of dense changes, which
        are matrix products; NumPy by default. The workers have to see it. Factors, Lanczos and
        sums are not moved there.
    hash
        Read each file whole for its digest, which `about["sources"]` then holds.
    strict
        Compare only what the files pair by themselves: no name, layer, row or part is guessed.
    selection
        Measure only these tensors: {"include": ["attn.*"], "layers": "0-7", "top": 20}, as
        `ftdiff.comparison.selection.Selection` has it. Of the `top`, sums are measured of all.

    Raises
    ------
    BadFile, BadAdapter, Mismatch
        What was given cannot be read or compared, or not without a guess where `strict`. A tensor
        that cannot be measured is a row of status "unreadable" instead, and `about["unreadable"]`
        says why.
    BadCall
        Torch does not see the device, a metric needs text, or a selection fits nothing.
    MissingExtra
        A device is named and torch is not installed.
    """
    wanted, asked = resolve(metrics), selection_of(selection)
    measurable(wanted)
    see(device, executor)
    with ExitStack() as settled:
        with collector.paused():
            sides = paired(base, tuned, say, tuned_is_delta=tuned_is_delta, strict=strict)
            plan = selected.of_plan(sides.plan, asked)
            count, sides = len(sides.plan.tensors), replace(sides, plan=plan)
            afford(plan, wanted)
            settled.enter_context(collector.settled())
        executor = settled.enter_context(afar.reading(plan.changes, executor))
        diff = summed(sides, executor, progress, hash=hash)
        diff, plan = selected.settled(diff, plan, asked, count, [one.name for one in wanted])
        at = Workplace(executor, progress, say, device)
        diff = tensorwise.adding(surveyed(diff, plan, at), plan, wanted, at)
    return diff.keeping([metric.name for metric in wanted])


def afford(plan: Plan, metrics: Sequence[Metric]) -> None:
    """Refuse what needs more memory than was asked for, before anything is measured.

    Raises
    ------
    BadCall
        It does.
    """
    bounds.afford(max(rescaled.HELD, looks.HELD), "any comparison", "a tile in float64")
    tensorwise.afford(plan, metrics)


@dataclass(frozen=True)
class Sides:
    """A base and a fine-tune that are opened and paired; no weight of them has been measured."""

    base: Checkpoint | None
    tuned: Tuned
    plan: Plan


def paired(
    base: Any | None,
    tuned: Any,
    say: Say | None = None,
    *,
    tuned_is_delta: bool = False,
    strict: bool = False,
) -> Sides:
    """Open both sides and pair them; arguments and errors are those of `compare`."""
    with collector.paused():
        opened = open_base(base)
        fine = open_tuned(tuned, opened)
        if tuned_is_delta:
            fine = as_delta(fine)
        plan = pair(opened, fine)
    with collector.settled():
        plan = foretold(plan, say)
    plan = refuse(plan) if strict else plan
    return Sides(opened, applied_twice.measured(opened, plan.tuned or fine, plan), plan)


def summed(
    sides: Sides,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    hash: bool = False,
) -> Diff:
    """Measure the sums of two sides, and every metric that comes from sums."""
    found = run(sides.plan, executor, progress)
    grids = few_bits.on_grids(sides.plan.changes, found, executor, progress)
    return gathered(sides.base, sides.tuned, sides.plan, found, grids, hash=hash)


def see(device: str | None, executor: Executor | None) -> None:
    """Check that whoever measures sees a device of torch's, where one is named.

    Raises
    ------
    BadCall, MissingExtra
        As in `compare`.
    """
    if device is not None:
        executors.ask(executor, devices.seen, device)


def gathered(
    base: Checkpoint | None,
    tuned: Tuned,
    plan: Plan,
    found: Sequence[Moments | str],
    grids: Mapping[int, Grid],
    *,
    hash: bool = False,
) -> Diff:
    """Make a diff of what `run` measured of a plan, with every metric of sums.

    `grids` has the changes that are the base rounded to few bits, by their place.
    """
    unreadable = {
        change.address.name: outcome
        for change, outcome in zip(plan.changes, found, strict=True)
        if isinstance(outcome, str)
    }
    about = provenance.about(base, tuned, plan, unreadable, hash=hash)
    sums = [few_bits.settled(outcome, grids.get(i)) for i, outcome in enumerate(found)]
    few = {plan.changes[i].address.name: grid for i, grid in grids.items()}
    with collector.paused():
        diff = Diff.of_rows(rows(plan, sums, few), about)
    for note in few_bits.notes([*few.values()], _moved_matrices(diff)):
        about["notes"].append(str(note))
        about["reasons"].append(note.record())
    return Diff(diff.columns, about)


def _moved_matrices(diff: Diff) -> int:
    moved = among(diff.columns["status"], MOVED)
    shapes = diff.columns["shape"][moved]
    return sum(1 for shape in shapes if len(shape or ()) > 1)


def measure(change: Change) -> dict[str, Any]:
    """Measure one change whole: a row of the frame."""
    (outcome,) = rescaled.refined([change], [spans.moments(change)])
    return {"tensor": change.address.name, **row_of(change, outcome)}


def run(
    plan: Plan,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    limit: int | None = None,
) -> list[Moments | str]:
    """Measure a plan: for each change its moments, or why it could not be read.

    A task reads `limit` bytes of base, which changes no bit; by default what suits the executor.
    """
    found, left = spans.kept(plan)
    limit = limit or executors.task_bytes(sum(c.size for c in plan.changes), executor)
    tasks = [*spans.tasks_of(plan, left, limit)]
    outcomes = executors.run(spans.SUMS, tasks, executor, progress)
    for span, outcome in zip(chain.from_iterable(tasks), outcomes, strict=True):
        sofar = found[span.index]
        if isinstance(sofar, Moments):
            found[span.index] = outcome if isinstance(outcome, str) else sofar + outcome
    return rescaled.refined(plan.changes, found, executor, progress)
