"""Measure lines of many changes on any `concurrent.futures.Executor`, a change for each task."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TypeAlias

from ftdiff.analyses.parts.sums import Lines, measure
from ftdiff.comparison import executors, windows
from ftdiff.comparison.executors import Work
from ftdiff.comparison.plan import Change
from ftdiff.comparison.progress import Progress
from ftdiff.errors import FtdiffError, attempt

#: A change, and along which axis it is measured.
Piece: TypeAlias = tuple[Change, int]


def measured(
    pieces: Sequence[Piece],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> list[Lines | str]:
    """Measure changes along an axis each: lines, or the complaint where one cannot be read."""
    work: Work[Piece, Lines | str] = Work("reading", _lines_or_why, _name, _cost, memory=_held)
    return executors.run(work, [[piece] for piece in pieces], executor, progress)


def measured_alone(
    change: Change, axis: int, executor: Executor | None = None, progress: Progress | None = None
) -> Lines:
    """Measure one change along an axis.

    Raises
    ------
    FtdiffError
        It cannot be read, or its worker died.
    """
    work: Work[Piece, Lines] = Work("reading", _lines, _name, _cost, memory=_held)
    (found,) = executors.run(work, [[(change, axis)]], executor, progress)
    if isinstance(found, str):
        raise FtdiffError(found)
    return found


def _lines(piece: Piece) -> Lines:
    return measure(*piece)


def _lines_or_why(piece: Piece) -> Lines | str:
    return attempt(_name(piece), lambda: measure(*piece))


def _name(piece: Piece) -> str:
    return piece[0].address.name


def _cost(piece: Piece) -> int:
    return piece[0].size


def _held(piece: Piece) -> int:
    return windows.window(piece[0].base, piece[0].recipe)
