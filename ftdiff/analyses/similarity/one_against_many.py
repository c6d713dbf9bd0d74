"""One fine-tune against many: only the pairs that are asked for, at the price of reading the files.

The many are never held against each other, so that neither time nor memory grows with the square of
their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.analyses.pairwise import (
    Asked,
    Line,
    Lineup,
    Together,
    chosen,
    floor_sq,
    line_up,
    measure,
    place,
    run,
    tensors_of,
    unmeasured,
)
from ftdiff.analyses.similarity import formulas, shortlist
from ftdiff.analyses.similarity.about import about, of_all
from ftdiff.analyses.similarity.cost import foretold_against, rank_of
from ftdiff.comparison import executors
from ftdiff.comparison.progress import Progress, Say
from ftdiff.deltas.recipes import Added
from ftdiff.tensors import Array

if TYPE_CHECKING:
    import pandas as pd

#: How many of the many are measured at once. Of stored changes so many that the one and the base
#: are seldom read; of factors as many as have so many rows, whose products with each other cost
#: about as much as the calls.
_STORED, _ROWS = 8, 128


@dataclass(frozen=True, eq=False)
class Against:
    """How alike one fine-tune and each of n others are.

    Attributes
    ----------
    name, names
        A short name for the one and for each of the others, all different.
    tensors
        A row for each of T tensors, as in `Similarity`.
    sums
        float64: `inner` (T × n, ⟨ΔW, ΔWⱼ⟩), `own_sq` (T × (n + 1), ‖ΔW‖² of the one, then of the
        others), `floor_sq` and `base_rounding_sq` (T × (n + 1), as in `Similarity`). NaN where one
        is not known.
    about
        Sources, kinds, what was left out and why, versions.
    """

    name: str
    names: tuple[str, ...]
    tensors: pd.DataFrame
    sums: dict[str, Array]
    about: dict[str, Any] = field(default_factory=dict)

    def nearest(self, count: int | None = None) -> pd.DataFrame:
        """Return a row for each of the others, the most alike first.

        Parameters
        ----------
        count
            How many; all if not given.

        Returns
        -------
        DataFrame
            `name`, `cosine`, `over_null` (times the cosine's null), then the other numbers of
            `formulas.cosines`. Those without a cosine come last.
        """
        import pandas as pd

        rows = [{"name": name, **self._pair(j)} for j, name in enumerate(self.names)]
        found = pd.DataFrame(rows)
        found.insert(2, "over_null", found["cosine"] / found["cosine_null"])
        found = found.sort_values("cosine", ascending=False, kind="stable")
        return found.head(count or len(rows)).reset_index(drop=True)

    def cosine(self, j: int) -> float:
        """Return the cosine of the one and another, by number; NaN where there is none."""
        return self._pair(j)["cosine"]

    def _pair(self, j: int) -> dict[str, float]:
        pair = [0, j + 1]
        own, count = self.sums["own_sq"][:, pair], len(self.tensors)
        inner = np.empty((count, 2, 2))
        inner[:, 0, 0], inner[:, 1, 1] = own.T
        inner[:, 0, 1] = inner[:, 1, 0] = self.sums["inner"][:, j]
        sums = {name: self.sums[name][:, pair] for name in ("floor_sq", "base_rounding_sq")}
        numel = self.tensors["numel"].to_numpy(np.float64)
        numbers = formulas.cosines({"inner": inner, "numel": numel, **sums})
        return {name: float(values[0, 1]) for name, values in numbers.items()}


def held_against(
    one: Any,
    tuned: Sequence[Any],
    base: Any | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    nearest: int | None = None,
    say: Say | None = None,
) -> Against:
    """Measure how alike one fine-tune and many others are; see `similarity`.

    Parameters
    ----------
    one
        A path to a checkpoint or adapter, or what `open_tuned` takes.
    tuned
        One or more others.
    base, executor, progress
        As in `similarity`.
    nearest
        How many of the most alike are asked for. Of many adapters the others are then left out that
        a sketch of their changes shows not to be among them; see `shortlist`. All if not given.
    say
        Called with a sentence before what will take minutes.

    Raises
    ------
    BadCall, BadFile, BadAdapter, Mismatch
        As in `similarity`.
    """
    lineup = line_up(base, [one, *tuned])
    say = say or _unsaid
    if nearest is None or len(tuned) < shortlist.MANY:
        told = foretold_against(lineup.lines, executors.count(executor))
        if told:
            say(told)
        return _against(lineup, executor, progress)
    bounds = shortlist.bounds(lineup, executor, progress, say)
    found: Against | None = None
    exact = np.full(len(tuned), np.nan)
    while len(more := bounds.undecided(exact, nearest)):
        part = _against(chosen(lineup, [0, *(j + 1 for j in more)]), executor, progress)
        cosines = np.array([part.cosine(k) for k in range(len(more))])
        exact[more] = np.where(np.isnan(cosines), -np.inf, cosines)
        found = part if found is None else _joined(found, part)
    assert found is not None
    measured = {"others": len(tuned), "measured": len(found.names), **bounds.told(exact)}
    return replace(found, about=found.about | of_all(lineup) | {"shortlist": measured})


def _unsaid(sentence: str) -> None:
    """Say nothing."""


def _against(lineup: Lineup, executor: Executor | None, progress: Progress | None) -> Against:
    """Measure the first of a lineup against each of the others."""
    asked = Asked(base=any(made.kind == "full" for made in lineup.tuned))
    task, lost = partial(_measured, asked=asked), partial(_unmeasured, asked=asked)
    found = run(lineup.lines, task, lost, executor, progress)
    sums = {name: np.stack([sums[name] for sums, _ in found]) for name in found[0][0]}
    first, *others = lineup.names
    rows = tensors_of([place(line) for line in lineup.lines])
    return Against(first, tuple(others), rows, sums, about(lineup, [one for _, one in found]))


def _joined(first: Against, second: Against) -> Against:
    """Return the same with others, held against the same one."""
    sums = {
        name: np.concatenate(
            [array, second.sums[name] if name == "inner" else second.sums[name][:, 1:]], axis=1
        )
        for name, array in first.sums.items()
    }
    about = dict(first.about)
    for kind in ("apart", "saved", "unreadable", "nonfinite", "noted"):
        about[kind] = about[kind] | second.about[kind]
    return replace(first, names=(*first.names, *second.names), sums=sums, about=about)


def _measured(line: Line, asked: Asked) -> tuple[dict[str, Array], Together]:
    """Measure one line on a worker, some of the many at a time."""
    n = len(line.recipes)
    own, inner = np.full(n, np.nan), np.full(n - 1, np.nan)
    floor, rounding = np.zeros(n), np.zeros(n)
    nonfinite = np.zeros(n, np.int64)
    complaints: dict[int, str] = {}
    for some in _batches(line):
        part = replace(
            line,
            recipes=tuple(line.recipes[i] for i in some),
            unknown=frozenset(k for k, i in enumerate(some) if i in line.unknown),
        )
        found = measure(part, asked)
        own[some], inner[[i - 1 for i in some[1:]]] = found.inner.diagonal(), found.inner[0, 1:]
        floor[some], nonfinite[some] = floor_sq(part, found), found.nonfinite
        if found.base_rounding_sq is not None:
            rounding[some] = found.base_rounding_sq
        complaints |= {some[k]: why for k, why in found.complaints.items()}
    sums = {"inner": inner, "own_sq": own, "floor_sq": floor, "base_rounding_sq": rounding}
    return sums, Together(np.zeros((0, 0)), nonfinite, complaints=complaints)


def _unmeasured(line: Line, why: str, asked: Asked) -> tuple[dict[str, Array], Together]:
    """Return what is known of a line whose worker died."""
    n = len(line.recipes)
    empty = np.full(n, np.nan)
    sums = {"inner": empty[1:], "own_sq": empty, "floor_sq": np.zeros(n)}
    known = replace(unmeasured(line, asked, why), inner=np.zeros((0, 0)))
    return sums | {"base_rounding_sq": np.zeros(n)}, known


def _batches(line: Line) -> Iterator[list[int]]:
    """Yield the one with some of the many, by number; those with factors apart from the others."""
    thin = [isinstance(recipe, Added) for recipe in line.recipes]
    ranks = [rank_of(recipe) for recipe in line.recipes if isinstance(recipe, Added)]
    few = max(1, _ROWS // max(1, *ranks, 1))
    for kind, size in ((False, _STORED), (True, few)):
        some = [i for i in range(1, len(thin)) if thin[i] is kind]
        for start in range(0, len(some), size):
            yield [0, *some[start : start + size]]
