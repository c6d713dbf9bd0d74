"""Compare several fine-tunes with one base, in one pass over its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from ftdiff.adapters import open_base, open_tuned
from ftdiff.comparison import afar, applied_twice, engine, few_bits, selected
from ftdiff.comparison import per_tensor as tensorwise
from ftdiff.comparison.executors import Workplace
from ftdiff.comparison.guesses import refuse
from ftdiff.comparison.kinship import foretold
from ftdiff.comparison.plan import Plan, pair
from ftdiff.comparison.progress import Progress, Say
from ftdiff.comparison.result import Diff
from ftdiff.comparison.selection import Selection, selection_of
from ftdiff.comparison.structure.survey import surveyed
from ftdiff.deltas.recipes import Tuned, as_delta
from ftdiff.errors import FtdiffError
from ftdiff.formats import Checkpoint
from ftdiff.metrics import Metric, resolve


@dataclass(frozen=True)
class _Sibling:
    """A fine-tune that was opened, and what is to be measured of it, `of` how many tensors."""

    tuned: Tuned
    plan: Plan
    of: int


def compare_each(
    base: Any | None,
    tuned: Sequence[Any],
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
) -> list[Diff | FtdiffError]:
    """Measure what changed between a base and each of several fine-tunes.

    What all of them change in one part of the base is measured together, so that the base's files
    are passed over once. Metrics that need more than sums are measured one fine-tune after the
    other.

    Parameters
    ----------
    base, metrics, executor, progress, say, tuned_is_delta, device, hash, strict, selection
        As in `ftdiff.compare`.
    tuned
        What `ftdiff.compare` takes, for each.

    Returns
    -------
    list of Diff or FtdiffError
        In the order given: the diff, the same as `ftdiff.compare` makes, or why there is none.
        One that cannot be read costs itself, not the others.

    Raises
    ------
    BadFile, BadCall, MissingExtra
        As in `ftdiff.compare`, for what all of them share.
    """
    wanted, asked = resolve(metrics), selection_of(selection)
    engine.see(device, executor)
    opened = open_base(base)
    found = [_opened(opened, one, tuned_is_delta, say, strict, asked) for one in tuned]
    there = [one for one in found if isinstance(one, _Sibling)]
    for sibling in there:
        engine.afford(sibling.plan, wanted)
    joined = Plan(changes=tuple(change for one in there for change in one.plan.changes))
    with afar.reading(joined.changes, executor) as executor:
        sums = iter(engine.run(joined, executor, progress))
        at = Workplace(executor, progress, say, device)
        outcomes: list[Diff | FtdiffError] = []
        for one in found:
            if isinstance(one, FtdiffError):
                outcomes.append(one)
                continue
            mine = [next(sums) for _ in one.plan.changes]
            grids = few_bits.on_grids(one.plan.changes, mine, executor, progress)
            diff = engine.gathered(opened, one.tuned, one.plan, mine, grids, hash=hash)
            outcomes.append(_whole(diff, one, wanted, at, asked))
        return outcomes


def _opened(
    base: Checkpoint | None,
    tuned: Any,
    is_delta: bool,
    say: Say | None,
    strict: bool,
    asked: Selection,
) -> _Sibling | FtdiffError:
    try:
        fine = open_tuned(tuned, base)
        if is_delta:
            fine = as_delta(fine)
        plan = foretold(pair(base, fine), say)
        plan = refuse(plan) if strict else plan
        whole = applied_twice.measured(base, plan.tuned or fine, plan)
        return _Sibling(whole, selected.of_plan(plan, asked), len(plan.tensors))
    except FtdiffError as error:
        return error


def _whole(
    diff: Diff, one: _Sibling, wanted: Sequence[Metric], at: Workplace, asked: Selection
) -> Diff | FtdiffError:
    try:
        names = [metric.name for metric in wanted]
        diff, plan = selected.settled(diff, one.plan, asked, one.of, names)
        diff = tensorwise.adding(surveyed(diff, plan, at), plan, wanted, at)
    except FtdiffError as error:
        return error
    return diff.keeping([metric.name for metric in wanted])
