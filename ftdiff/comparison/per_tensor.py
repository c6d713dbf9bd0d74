"""Measure what does not add up: one task for each tensor, on any executor; numbers come back."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np

from ftdiff.comparison.plan import Change, Plan
from ftdiff.comparison.result import MOVED, Diff
from ftdiff.comparison.threads import pool
from ftdiff.deltas.recipes import Added, Recipe
from ftdiff.errors import BadAdapter, BadCall, BadFile, attempt
from ftdiff.metrics import Metric
from ftdiff.metrics.records.absolutes import absolutes
from ftdiff.metrics.records.crossings import crossings
from ftdiff.metrics.records.merge_rounding import merged
from ftdiff.metrics.records.spectra_names import geometry, spectrum
from ftdiff.tensors import LazyTensor, matrices, nbytes, numel

#: Called with the bytes measured so far and in all.
Progress: TypeAlias = Callable[[int, int], None]
#: Called with a sentence for whoever waits.
Say: TypeAlias = Callable[[str], None]
#: What travels: by metric name, what it needs and its function, ours by reference alone.
Functions: TypeAlias = Mapping[str, tuple[str, Callable[[Any], Any]]]

_LONG = 10.0  # seconds of work that are announced


@dataclass(frozen=True)
class Found:
    """The metrics of one tensor, NaN where it has none, and how they were measured."""

    values: Mapping[str, float]
    note: Mapping[str, Any] = field(default_factory=dict)


def adding(
    diff: Diff,
    plan: Plan,
    metrics: Sequence[Metric],
    executor: Executor | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    say: Say | None = None,
    device: str | None = None,
) -> Diff:
    """Return the diff with those of the metrics that need more than sums; itself if none does.

    Parameters
    ----------
    diff, plan
        What was measured, and of what.
    metrics
        Any metrics.
    executor, threads
        Where to measure; that many threads of this process by default.
    progress, say, device
        As in `ftdiff.compare`.

    Raises
    ------
    BadCall
        A metric's function cannot travel to the executor's workers.
    """
    apart = [metric for metric in metrics if metric.needs != "sums"]
    if not apart:
        return diff
    moved = diff.frame["status"].isin(MOVED) & diff.frame["delta_sq"].notna()
    names = {*diff.frame.loc[moved, "tensor"]}
    changes = [change for change in plan.changes if change.address.name in names]
    if executor is not None:
        workers = int(getattr(executor, "_max_workers", 1))
        return diff.adding(*run(changes, apart, executor, workers, progress, say, device))
    with pool(threads) as local:
        return diff.adding(*run(changes, apart, local, threads, progress, say, device))


def run(
    changes: Sequence[Change],
    metrics: Sequence[Metric],
    executor: Executor,
    workers: int = 1,
    progress: Progress | None = None,
    say: Say | None = None,
    device: str | None = None,
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """Measure metrics of these changes.

    Returns
    -------
    columns, notes
        For each metric its value by tensor, where it has one; by tensor, the method, the bound of
        its error and the number of matrices that the value is a mean of, or the complaint.
    """
    functions = {m.name: (m.needs, m.compute) for m in metrics}
    needs = frozenset(m.needs for m in metrics)
    if say is not None:
        seconds = sum(_seconds(change, needs) for change in changes) / workers
        if seconds > _LONG:
            what = ", ".join(functions) if len(functions) < 4 else f"{len(functions)} metrics"
            tensors = "1 tensor" if len(changes) == 1 else f"{len(changes)} tensors"
            without = "" if device is None else f" without {device}"
            say(f"{what} of {tensors}: about {_duration(seconds)}{without}")
    costly = sorted(changes, key=lambda change: -_seconds(change, needs))
    futures = {executor.submit(measure, c, functions, device): c for c in costly}
    total = sum(_bytes(change) for change in changes)
    columns: dict[str, dict[str, float]] = {name: {} for name in functions}
    notes: dict[str, dict[str, Any]] = {}
    done = 0
    for future in as_completed(futures):
        change = futures[future]
        try:
            found = future.result()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if "pickle" not in str(error).lower():
                raise
            raise BadCall(
                f"a metric cannot travel to the workers ({error}): define it in a module they have"
            ) from error
        for name, value in found.values.items():
            if math.isfinite(value):
                columns[name][change.address.name] = value
        if found.note:
            notes[change.address.name] = dict(found.note)
        done += _bytes(change)
        if progress is not None:
            progress(done, total)
    names = [change.address.name for change in changes]
    return columns, {name: notes[name] for name in names if name in notes}


def measure(change: Change, functions: Functions, device: str | None = None) -> Found:
    """Measure one tensor on a worker; the complaint is the note where it cannot be read."""
    apart: dict[Measure, dict[str, tuple[str, Callable[[Any], Any]]]] = {}
    for name, (needs, function) in functions.items():
        apart.setdefault(MEASURES[needs], {})[name] = (needs, function)
    values: dict[str, float] = {}
    note: dict[str, Any] = {}
    for measured, mine in apart.items():
        work = partial(measured, change, mine, device)
        with np.errstate(all="ignore"):
            found = attempt(change.address.name, work, (BadAdapter, BadFile))
        if isinstance(found, str):
            note["unreadable"] = found
            break
        values |= found.values
        note |= found.note
    return Found(values, note)


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
}


def _higher(curve: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Say whether a matrix has a larger σ₁ than another: of several, that one's curve is kept."""
    return other is None or curve["sigma"][0] > other["sigma"][0]


def _mean(values: Sequence[float]) -> float:
    """Return the mean of what there is; NaN if there is nothing."""
    there = [value for value in values if math.isfinite(value)]
    return math.fsum(there) / len(there) if there else math.nan


def _bytes(change: Change) -> int:
    return numel(change.recipe.shape) if change.base is None else nbytes(change.base)


def _seconds(change: Change, needs: frozenset[str]) -> float:
    """Estimate from the shape: products at this machine's rate, passes at its memory's."""
    count, rows, columns = matrices(change.address.name, change.recipe.shape)
    size, short = count * rows * columns, min(rows, columns)
    if len(change.recipe.shape) < 2:
        return 0.0
    if "geometry" in needs:
        return 2e-7 * size + 2 * (2 * size * short + 6 * count * short**3) / _rate()
    if isinstance(change.recipe, Added):
        return 5e-3 + size * 1e-10
    passes = 2e-8 * size
    if "spectrum" not in needs:
        return passes
    return passes + (2 * size * short + 6 * count * short**3) / _rate()


@lru_cache(maxsize=1)
def _rate() -> float:
    """Return multiplications and additions a second, of a product that takes milliseconds."""
    M = np.ones((512, 512))
    M @ M
    start = time.perf_counter()
    M @ M
    return 2 * 512**3 / max(time.perf_counter() - start, 1e-6)


def _duration(seconds: float) -> str:
    """Say a time as people do.

    >>> _duration(42.3), _duration(600), _duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
