"""Tensors of a full checkpoint that are the base's, rounded to few bits: merged onto such a base.

A tensor is looked at where its sums may be those of such a rounding: its first values, and a few of
its blocks where these have as few levels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ftdiff.comparison import executors, reasons, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import Change
from ftdiff.comparison.progress import Progress
from ftdiff.deltas.moments import NULL, Moments
from ftdiff.deltas.recipes import Replaced
from ftdiff.errors import attempt
from ftdiff.formats.note import Note
from ftdiff.formats.quantised import grids
from ftdiff.formats.quantised.grids import Grid
from ftdiff.tensors import is_quantised, matrix_shape, numel

#: ‖ΔW‖/‖W‖ of a rounding to few bits, which is larger the farther outliers stand from the rest, and
#: never 1: it leaves the largest entries of blocks. The least share of entries that it moves.
_SMALL, _LARGE, _MOVED = 1e-3, 1.0, 0.25
#: The most that it leaves of a change along the base: more is a multiple of it.
_ALONG = 0.9
#: A grid fits fewer entries, or shorter rows, by chance.
_LEAST, _WIDTH = 1 << 8, 16
_NONE = (0.0,)
#: Tensors that one task looks at.
_BUNDLE = 16


@dataclass(frozen=True)
class _Suspect:
    """A change that may be rounding."""

    change: Change


def on_grids(
    changes: Sequence[Change],
    outcomes: Sequence[Moments | str],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> dict[int, Grid]:
    """Return which changes are the base rounded to few bits, by their place, and to which grid.

    Parameters
    ----------
    changes, outcomes
        What was measured, and the sums of each, or why it could not be read.
    executor, progress
        As in `ftdiff.compare`.
    """
    near = [*_suspects(changes, outcomes)]
    if not near:
        return {}
    tasks = [[one for _, one in near[at : at + _BUNDLE]] for at in range(0, len(near), _BUNDLE)]
    found = executors.run(_LOOKING, tasks, executor, progress)
    return {i: grid for (i, _), grid in zip(near, found, strict=True) if isinstance(grid, Grid)}


def settled(outcome: Moments | str, grid: Grid | None) -> Moments | str:
    """Return a change's sums; of one that is rounding to few bits, all of it is what that gives."""
    if grid is None or isinstance(outcome, str):
        return outcome
    return outcome.replacing(**{NULL: 12 * outcome.sums["delta_sq"][0]})


def note(grid: Grid) -> Note:
    """Say of a tensor what it is."""
    return Note(reasons.FEW_BITS, f"the base's values, rounded to {grid.said}")


def notes(found: Sequence[Grid], moved: int) -> Iterator[Note]:
    """Say of a checkpoint what it was merged onto, for each grid that some of its tensors lie on.

    Parameters
    ----------
    found
        The grid of each matrix that lies on one.
    moved
        Matrices that moved, those on a grid among them.
    """
    for grid, count in Counter(found).items():
        data = {"scheme": grid.scheme, "block": grid.block, "tensors": count}
        data["others"] = moved - len(found)
        yield Note(reasons.FEW_BITS, sentence(data), **data)


def sentence(data: Mapping[str, Any]) -> str:
    """Return what the record of such a note says.

    >>> sentence({"scheme": "NF4", "block": 64, "tensors": 1, "others": 0})
    "1 matrix is the base's, rounded to NF4 in blocks of 64: saved in, or through, 4 bits."
    """
    grid, count, others = Grid(data["scheme"], data["block"]), data["tensors"], data["others"]
    bits = 4 if grid.scheme in ("NF4", "FP4", "INT4") else 8
    one = count == 1
    many = f"{count:,} {'untargeted ' if others else ''}{'matrix is' if one else 'matrices are'}"
    said = f"{many} the base's, rounded to {grid.said}"
    if not others:
        return f"{said}: saved in, or through, {bits} bits."
    base = "a 4-bit base" if bits == 4 else "an 8-bit base"
    rest = "1 matrix that moved" if others == 1 else f"{others:,} matrices that moved"
    return f"Merged onto {base}: {said}. The {rest} beside may hold the same rounding."


def _suspects(
    changes: Sequence[Change], outcomes: Sequence[Moments | str]
) -> Iterator[tuple[int, _Suspect]]:
    """Yield the changes that may be rounding alone, as far as sums tell, by their place."""
    sums = [{} if isinstance(one, str) else one.sums for one in outcomes]
    base_sq, delta_sq, inner = (
        np.array([one.get(name, _NONE)[0] for one in sums])
        for name in ("base_sq", "delta_sq", "inner")
    )
    moved = np.array([_moved(one) for one in outcomes])
    with np.errstate(all="ignore"):
        relative = np.sqrt(delta_sq / base_sq)
        along = inner**2 / (base_sq * delta_sq)
    near = (relative >= _SMALL) & (relative < _LARGE) & (along <= _ALONG) & (moved >= _MOVED)
    for i in np.flatnonzero(near).tolist():
        if _is_pair(changes[i]):
            yield i, _Suspect(changes[i])


def _moved(outcome: Moments | str) -> float:
    """Return the share of entries that moved."""
    if isinstance(outcome, str) or not outcome.numel:
        return 0.0
    return outcome.counts.get("unequal", 0) / outcome.numel


def _is_pair(change: Change) -> bool:
    """Say whether both sides are stored, neither in few bits, and large enough to tell."""
    if change.base is None or not isinstance(change.recipe, Replaced):
        return False
    if is_quantised(change.base) or is_quantised(change.recipe.tensor):
        return False
    return numel(change.base.shape) >= _LEAST and matrix_shape(change.base.shape)[1] >= _WIDTH


def _look(suspect: _Suspect) -> Grid | str | None:
    return attempt(suspect.change.address.name, partial(_grid, suspect))


def _grid(suspect: _Suspect) -> Grid | None:
    change = suspect.change
    assert change.base is not None and isinstance(change.recipe, Replaced)
    tuned = change.recipe.tensor
    return grids.find(change.base, tuned, among=grids.possible(tuned))


def _name(suspect: _Suspect) -> str:
    return suspect.change.address.name


def _cost(suspect: _Suspect) -> int:
    return _LEAST


def _held(suspect: _Suspect) -> int:
    return windows.window(suspect.change.base, suspect.change.recipe)


_LOOKING: Work[_Suspect, Grid | str | None] = Work("few bits", _look, _name, _cost, memory=_held)
