"""Measure what does not add up: one task for each tensor, on any executor; numbers come back."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from ftdiff.comparison import estimates, executors, journal
from ftdiff.comparison.executors import Work, Workplace
from ftdiff.comparison.frame import among, there
from ftdiff.comparison.journal import kept_as
from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.progress import duration
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED
from ftdiff.deltas.recipes import Recipe, Replaced
from ftdiff.errors import BadAdapter, BadCall, BadFile, attempt
from ftdiff.metrics import Metric
from ftdiff.metrics.records.absolutes import absolutes
from ftdiff.metrics.records.crossings import crossings
from ftdiff.metrics.records.merge_rounding import merged
from ftdiff.metrics.records.spectra import spectrum
from ftdiff.metrics.records.structure import structure
from ftdiff.metrics.records.subspaces import geometry
from ftdiff.tensors import LazyTensor, matrices

#: What travels: by metric name, what it needs and its function, ours by reference alone.
Functions: TypeAlias = Mapping[str, tuple[str, Callable[[Any], Any]]]

_LONG = 10.0  # seconds of work that are announced


@kept_as("metrics", whole=lambda found: "unreadable" not in found.note)
@dataclass(frozen=True)
class Found:
    """The metrics of one tensor, NaN where it has none, and how they were measured."""

    values: Mapping[str, float]
    note: Mapping[str, Any] = field(default_factory=dict)


def adding(diff: Diff, plan: Plan, metrics: Sequence[Metric], at: Workplace | None = None) -> Diff:
    """Return the diff with those of the metrics that need more than sums; itself if none does.

    Parameters
    ----------
    diff, plan
        What was measured, and of what.
    metrics
        Any metrics.
    at
        Where to measure.

    Raises
    ------
    BadCall
        A metric's function cannot travel to the executor's workers.
    """
    apart = [metric for metric in metrics if metric.needs != "sums"]
    if not apart:
        return diff
    moved = among(diff.columns["status"], MOVED) & there(diff.columns["delta_sq"])
    names = {*diff.columns["tensor"][moved]}
    changes = [change for change in plan.changes if change.address.name in names]
    return diff.adding(*run(changes, apart, at or Workplace()))


def run(
    changes: Sequence[Change], metrics: Sequence[Metric], at: Workplace
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """Measure metrics of these changes, the longest first.

    Returns
    -------
    columns, notes
        For each metric its value by tensor, where it has one; by tensor, the method, the bound of
        its error and the number of matrices that the value is a mean of, or the complaint.
    """
    functions = {m.name: (m.needs, m.compute) for m in metrics}
    needs = frozenset(m.needs for m in metrics)
    if at.say is not None:
        _announce(changes, [*functions], needs, at)
    try:
        outcomes = _outcomes(changes, functions, needs, at)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error).lower():
            raise
        raise BadCall(
            f"a metric cannot travel to the workers ({error}): define it in a module they have"
        ) from error
    columns: dict[str, dict[str, float]] = {name: {} for name in functions}
    notes: dict[str, dict[str, Any]] = {}
    for change, found in zip(changes, outcomes, strict=True):
        if isinstance(found, str):
            notes[change.address.name] = {"unreadable": found}
            continue
        for name, value in found.values.items():
            if math.isfinite(value):
                columns[name][change.address.name] = value
        if found.note:
            notes[change.address.name] = dict(found.note)
    return columns, notes


def _outcomes(
    changes: Sequence[Change], functions: Functions, needs: frozenset[str], at: Workplace
) -> list[Found | str]:
    """Measure all of each change in one task; where a journal is kept, a kind after the other.

    What one kind of metrics has found of a change is then kept, whatever others are asked for.
    """
    apart = [functions] if journal.current() is None else [*_apart(functions).values()]
    whole: list[Found | str] = [Found({})] * len(changes)
    for mine in apart:
        found = executors.run(
            _work(mine, at.device), [[c] for c in changes], at.executor, at.progress
        )
        whole = [_joined(first, more) for first, more in zip(whole, found, strict=True)]
    return whole


def _work(functions: Functions, device: str | None) -> Work[Change, Found]:
    needs = frozenset(needs for needs, _ in functions.values())
    return Work(
        " and ".join(dict.fromkeys(_PHASES.get(need, "entries") for need in sorted(needs))),
        partial(measure, functions=functions, device=device),
        name=attrgetter("address.name"),
        cost=attrgetter("size"),
        priority=partial(estimates.seconds, needs=needs),
        memory=partial(estimates.memory, needs=needs),
    )


def afford(plan: Plan, metrics: Sequence[Metric]) -> None:
    """Refuse metrics of a plan that need more memory than was asked for, before any is measured.

    Raises
    ------
    BadCall
        A tensor needs more.
    """
    functions = {m.name: (m.needs, m.compute) for m in metrics if m.needs != "sums"}
    unlike = [c for c in plan.changes if not _is_its_base(c)]
    executors.afford(_work(functions, None), unlike)


def _is_its_base(change: Change) -> bool:
    return isinstance(change.recipe, Replaced) and change.recipe.is_of(change.base)


def _joined(first: Found | str, more: Found | str) -> Found | str:
    """Put together what was found of a change; nothing is added to a complaint."""
    if isinstance(first, str) or "unreadable" in first.note:
        return first
    if isinstance(more, str):
        return more
    return Found({**first.values, **more.values}, {**first.note, **more.note})


#: What a phase is called, by what its metrics need; the others pass over the entries.
_PHASES = {
    "top": "spectra",
    "spectrum": "spectra",
    "geometry": "geometry",
    "structure": "structure",
}


def _announce(
    changes: Sequence[Change], names: Sequence[str], needs: frozenset[str], at: Workplace
) -> None:
    """Say how long it will take, where that is long."""
    seconds = sum(estimates.seconds(change, needs) for change in changes) / executors.count(
        at.executor
    )
    if seconds <= _LONG or at.say is None:
        return
    what = ", ".join(names) if len(names) < 4 else f"{len(names)} metrics"
    tensors = "1 tensor" if len(changes) == 1 else f"{len(changes)} tensors"
    without = "" if at.device is None else f" without {at.device}"
    at.say(f"{what} of {tensors}: about {duration(seconds)}{without}")


def measure(change: Change, functions: Functions, device: str | None = None) -> Found:
    """Measure one tensor on a worker; the complaint is the note where it cannot be read."""
    values: dict[str, float] = {}
    note: dict[str, Any] = {}
    for measured, mine in _apart(functions).items():
        work = partial(measured, change, mine, device)
        with np.errstate(all="ignore"):
            found = attempt(change.address.name, work, (BadAdapter, BadFile))
        if isinstance(found, str):
            note["unreadable"] = found
            break
        values |= found.values
        note |= found.note
    return Found(values, note)


def _apart(functions: Functions) -> dict[Measure, Functions]:
    """Tell metrics apart by what measures them."""
    apart: dict[Measure, dict[str, tuple[str, Callable[[Any], Any]]]] = {}
    for name, (needs, function) in functions.items():
        apart.setdefault(MEASURES[needs], {})[name] = (needs, function)
    return {**apart}


def spectral(change: Change, functions: Functions, device: str | None) -> Found:
    """Measure metrics of singular values."""
    whole = any(needs == "spectrum" for needs, _ in functions.values())
    return _of_matrices(change, functions, partial(spectrum, whole=whole, device=device))


def geometric(change: Change, functions: Functions, device: str | None) -> Found:
    """Measure metrics of leading subspaces; there are none without a base."""
    if change.base is None:
        return Found({})
    return _of_matrices(change, functions, partial(geometry, device=device))


def _of_matrices(change: Change, functions: Functions, make: Callable[..., Any]) -> Found:
    """Measure each matrix of a tensor, and take the mean of theirs."""
    count, rows, columns = matrices(change.address.name, change.recipe.shape)
    if len(change.recipe.shape) < 2 or not rows * columns:
        return Found({})
    found: dict[str, list[float]] = {name: [] for name in functions}
    note: dict[str, Any] = {"matrices": count} if count > 1 else {}
    for index in range(count):
        record = make(change.recipe, change.base, (rows, columns), index)
        for name, (_, function) in functions.items():
            found[name].append(float(function(record)))
        told = record.note()
        if "curve" in told and _higher(told["curve"], note.get("curve")):
            note["curve"] = {**told["curve"], **({"matrix": index} if count > 1 else {})}
        for what, value in told.items():  # the worst of the matrices
            if what != "curve":
                note[what] = max(value, note.get(what, value))
    return Found({name: _mean(several) for name, several in found.items()}, note)


def structural(change: Change, functions: Functions, device: str | None) -> Found:
    """Measure metrics of a few rows of both sides."""
    return _of_matrices(change, functions, structure)


def counted(
    record_of: Callable[[Recipe, LazyTensor | None], Any],
    change: Change,
    functions: Functions,
    device: str | None,
) -> Found:
    """Measure metrics of a record that is taken entry by entry, where the entries are read."""
    record = record_of(change.recipe, change.base)
    return Found({name: float(function(record)) for name, (_, function) in functions.items()})


#: Measures the metrics that need one thing, of one tensor.
Measure: TypeAlias = Callable[[Change, Functions, str | None], Found]
#: By what a metric needs (see `ftdiff.metrics.NEEDS`).
MEASURES: Mapping[str, Measure] = {
    **dict.fromkeys(("top", "spectrum"), spectral),
    "thresholds": partial(counted, crossings),
    "merge": partial(counted, merged),
    "absolutes": partial(counted, absolutes),
    "geometry": geometric,
    "structure": structural,
}


def _higher(curve: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Say whether a matrix has a larger σ₁ than another: of several, that one's curve is kept."""
    return other is None or curve["sigma"][0] > other["sigma"][0]


def _mean(values: Sequence[float]) -> float:
    """Return the mean of what there is; NaN if there is nothing."""
    there = [value for value in values if math.isfinite(value)]
    return math.fsum(there) / len(there) if there else math.nan
