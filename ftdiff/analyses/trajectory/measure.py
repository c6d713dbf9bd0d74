"""Measure a run: open its checkpoints, put them in order, read each once; add later ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ftdiff.analyses.pairwise import (
    Asked,
    Line,
    Lineup,
    Together,
    floor_sq,
    line_up,
    measure,
    noted,
    place,
    run,
    tensors_of,
    trouble,
    unmeasured,
)
from ftdiff.analyses.trajectory.checkpoint_order import GIVEN, STEPS, Order, expanded, ordered
from ftdiff.analyses.trajectory.result import Trajectory
from ftdiff.comparison import per_tensor as tensorwise
from ftdiff.comparison.per_tensor import Functions
from ftdiff.comparison.plan import Change
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of
from ftdiff.deltas.recipes import Added
from ftdiff.errors import BadCall, Mismatch
from ftdiff.metrics import METRICS, measurable, resolve
from ftdiff.metrics.names import several
from ftdiff.tensors import Array

#: What is measured of changes that have factors whether it is asked for or not: it costs little.
_FREE = "effective_rank"


def trajectory(
    base: Any | None,
    checkpoints: Sequence[Any],
    metrics: str | Sequence[str] = (),
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    order: Order = "auto",
    steps: Sequence[int] | None = None,
    earlier: Trajectory | str | Path | None = None,
) -> Trajectory:
    """Measure how a change grew over the checkpoints of one run.

    Parameters
    ----------
    base
        What training started from: a path, or what `open_checkpoint` takes; None for adapters
        whose change does not depend on it, which then have no relative norm; weights that they
        hold whole are left out, and said.
    checkpoints
        Paths to checkpoints or adapters, or to a run's folder of `checkpoint-N` folders.
    metrics
        Metrics of single tensors that do not come from sums, such as "effective_rank", taken of
        every checkpoint; that one is always taken of changes that have factors.
    executor
        Where to measure; threads of this process by default, one for each core.
    progress
        Called with the bytes read so far and in all.
    order
        "trainer", "names", "given", or "auto": the first of them that all checkpoints have.
    steps
        Each checkpoint's step, rising, where the caller knows them; `order` is then not asked.
    earlier
        A trajectory, or the path of a saved one, to which these checkpoints are added. The
        earlier checkpoints are not read again: what relates them to the new ones is estimated
        from sketches, and says so.

    Raises
    ------
    BadCall
        There is no checkpoint, no such order, or the steps do not rise.
    Mismatch
        A checkpoint does not belong to the base, or the new ones not to the earlier ones.
    BadFile, BadAdapter
        One of them cannot be opened. A tensor that cannot be read is left out instead, and
        `about["unreadable"]` says why.
    """
    wanted = [metric for metric in resolve(metrics) if metric.needs != "sums"] if metrics else []
    if metrics and len(wanted) < len(resolve(metrics)):
        raise BadCall("metrics of sums are always there; name those of single tensors")
    before = Trajectory.load(earlier) if isinstance(earlier, str | Path) else earlier
    measurable(wanted)
    files, at, how = _in_order(several(checkpoints), order, steps)
    if before is not None and how == GIVEN:
        at = [before.steps[-1] + step for step in at]
    lineup = line_up(base, files, least=1)
    functions = {metric.name: (metric.needs, metric.compute) for metric in wanted}
    asking = Asked(base=lineup.base is not None, probes=("sketch",))
    task = partial(_measured, asked=asking, functions=functions)
    found = run(lineup.lines, task, partial(_unmeasured, asked=asking), executor, progress)
    made = _of(lineup, found, at, how)
    return made if before is None else before.followed_by(made)


def _in_order(
    checkpoints: Sequence[Any], order: Order, steps: Sequence[int] | None
) -> tuple[list[Any], list[int], str]:
    """Return the checkpoints in the order of training, their steps, and who says so."""
    if steps is None:
        return ordered(expanded(checkpoints), order)
    rising = all(early < late for early, late in pairwise(steps))
    if len(steps) != len(checkpoints) or not rising or min(steps, default=0) < 0:
        raise BadCall(f"steps={[*steps]}: one for each of {len(checkpoints)} checkpoints, rising")
    return [*checkpoints], [*steps], STEPS


def _measured(
    line: Line, asked: Asked, functions: Functions
) -> tuple[Together, list[Mapping[str, float]]]:
    """Measure one line on a worker, and metrics of each change of it."""
    thin = all(recipe is None or isinstance(recipe, Added) for recipe in line.recipes)
    if thin and _FREE not in functions:
        functions = {**functions, _FREE: (METRICS[_FREE].needs, METRICS[_FREE].compute)}
    values: list[Mapping[str, float]] = []
    for recipe in line.recipes:
        if recipe is None or not functions:
            values.append({})
            continue
        change = Change(line.address, line.base, recipe)
        values.append(tensorwise.measure(change, functions).values)
    return measure(line, asked), values


def _unmeasured(line: Line, why: str, asked: Asked) -> tuple[Together, list[Mapping[str, float]]]:
    """Return what is known of a line whose worker died."""
    return unmeasured(line, asked, why), [{} for _ in line.recipes]


def _of(
    lineup: Lineup,
    found: Sequence[tuple[Together, list[Mapping[str, float]]]],
    steps: Sequence[int],
    how: str,
) -> Trajectory:
    together = [one for one, _ in found]
    floors = [floor_sq(line, one) for line, one in zip(lineup.lines, together, strict=True)]
    sums = {
        "inner": np.stack([one.inner for one in together]),
        "sketch": np.stack([one.probes["sketch"]["sums"] for one in together]),
        "base_sq": np.array([one.base_sq for one in together]),
        "floor_sq": np.stack(floors),
    }
    names = dict.fromkeys(name for _, rows in found for row in rows for name in row)
    for name in names:
        sums[f"metric.{name}"] = np.array([_column(rows, name) for _, rows in found])
    about = {
        "base": lineup.base,
        "kind": ", ".join(dict.fromkeys(one.kind for one in lineup.tuned)),
        "order": how,
        **trouble(lineup, together),
        "noted": noted(lineup),
        **made_of(base=[lineup.opened], tuned=lineup.tuned),
    }
    if not lineup.lines:
        raise Mismatch("no checkpoint changes a tensor")
    tensors = tensors_of([place(line) for line in lineup.lines])
    return Trajectory(lineup.names, tuple(steps), tensors, sums, about)


def _column(rows: Sequence[Mapping[str, float]], name: str) -> Array:
    return np.array([row.get(name, np.nan) for row in rows])
