"""Tensors of a full checkpoint that are the base's, rounded to few bits: merged onto such a base.

A tensor is looked at, in a few of its blocks, only where it moved by about what such rounding does.
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
from ftdiff.tensors import is_quantised, numel

#: ‖ΔW‖/‖W‖ that rounding Gaussian weights gives, by scheme, and how near a tensor has to be.
FLOORS: Mapping[str, float] = {
    "NF4": 0.092, "FP4": 0.12, "INT4": 0.13, "INT8": 0.0075, "F8_E4M3": 0.026,
}  # fmt: skip
_NEAR = 0.3
#: A grid fits fewer entries, or shorter rows, by chance.
_LEAST, _WIDTH = 1 << 8, 16
_NONE = (0.0,)
#: Tensors that one task looks at.
_BUNDLE = 16


@dataclass(frozen=True)
class _Suspect:
    """A change, and the grids that it is about as large as the rounding of."""

    change: Change
    grids: tuple[Grid, ...]


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
    """Yield the changes that are about as large as a grid's rounding makes them, by their place."""
    sums = [{} if isinstance(one, str) else one.sums for one in outcomes]
    base_sq, delta_sq = (
        np.array([one.get(name, _NONE)[0] for one in sums]) for name in ("base_sq", "delta_sq")
    )
    with np.errstate(all="ignore"):
        relative = np.where(base_sq > 0, np.sqrt(delta_sq / base_sq), 0.0)
        near = {scheme: np.abs(relative / floor - 1) < _NEAR for scheme, floor in FLOORS.items()}
    for i in np.flatnonzero(np.logical_or.reduce([*near.values()])).tolist():
        if _is_pair(changes[i]):
            yield i, _Suspect(changes[i], tuple(g for g in grids.GRIDS if near[g.scheme][i]))


def _is_pair(change: Change) -> bool:
    """Say whether both sides are stored, neither in few bits, and large enough to tell."""
    if change.base is None or not isinstance(change.recipe, Replaced):
        return False
    if is_quantised(change.base) or is_quantised(change.recipe.tensor):
        return False
    return numel(change.base.shape) >= _LEAST and change.base.shape[-1] >= _WIDTH


def _look(suspect: _Suspect) -> Grid | str | None:
    return attempt(suspect.change.address.name, partial(_grid, suspect))


def _grid(suspect: _Suspect) -> Grid | None:
    change = suspect.change
    assert change.base is not None and isinstance(change.recipe, Replaced)
    return grids.find(change.base, change.recipe.tensor, among=suspect.grids)


def _name(suspect: _Suspect) -> str:
    return suspect.change.address.name


def _cost(suspect: _Suspect) -> int:
    return _LEAST


def _held(suspect: _Suspect) -> int:
    return windows.window(suspect.change.base, suspect.change.recipe)


_LOOKING: Work[_Suspect, Grid | str | None] = Work("few bits", _look, _name, _cost, memory=_held)
